"""A report as an object: findings with their verdicts, the tables behind them, and the page."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.types import Finding, Separation
from promptatlas.types import Report as ReportInfo

if TYPE_CHECKING:
    import pandas

Table = Literal["findings", "numbers", "collapse", "separation", "trajectories", "shape"]


class Report:
    """What a report run has found. It needs no server any more.

    Args:
        run_id: of the run that made it.
        info: all that ``report.json`` holds.
        html: the page, which needs nothing beside it.
    """

    def __init__(self, run_id: str, *, info: ReportInfo, html: str) -> None:
        self.id = run_id
        self.info = info
        self.html = html

    @property
    def title(self) -> str:
        """What it is about."""
        return self.info.title

    @property
    def model(self) -> str:
        """The model that it is about."""
        return self.info.model

    @property
    def findings(self) -> list[Finding]:
        """Each with its verdict, the rule that it follows from, and numbers with intervals."""
        return self.info.findings

    @property
    def collapse(self) -> dict[str, dict[str, Any]]:
        """How tuned vectors lie among tokens: by prompt, then by measure."""
        return self.info.collapse

    @property
    def separation(self) -> list[Separation]:
        """How far the tasks lie apart, by layer and measure."""
        return self.info.separation

    @property
    def trajectories(self) -> list[dict[str, Any]]:
        """How generations walk, against random walks."""
        return self.info.trajectories

    @property
    def shape(self) -> list[dict[str, Any]]:
        """Of what form the clouds of activations are."""
        return self.info.shape

    def finding(self, number: int) -> Finding:
        """One finding by its number; KeyError where the report has none of it."""
        found = {each.number: each for each in self.findings}
        if number not in found:
            raise KeyError(f"no finding {number}; there are {', '.join(map(str, found)) or 'none'}")
        return found[number]

    def to_pandas(self, table: Table = "findings") -> pandas.DataFrame:
        """One of the tables as a frame; a number inside another is in a column of both names, ``a.b``. Needs pandas.

        Args:
            table: ``findings``, ``numbers`` (of all findings, a line a number: ``finding``, ``name``, ``value``),
                ``collapse`` (a line a prompt), ``separation``, ``trajectories`` or ``shape``.
        """
        if table not in get_args(Table):
            raise ValueError(f"table: expected one of {', '.join(get_args(Table))}, got {table!r}")
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("expected pandas to be installed: pip install 'promptatlas[pandas]'") from error
        return pd.json_normalize(list(self._rows(table)))

    def save(self, path: str | Path) -> Path:
        """Writes the page to a file, or all that the report holds as JSON where the file ends in ``.json``."""
        target = Path(path)
        is_json = target.suffix == ".json"
        target.write_text(self.info.model_dump_json(indent=2) if is_json else self.html, encoding="utf-8")
        return target

    def __repr__(self) -> str:
        verdicts = {finding.number: finding.verdict for finding in self.findings}
        return f"Report(id={self.id!r}, title={self.title!r}, verdicts={verdicts})"

    def _repr_html_(self) -> str:
        """The verdicts, as notebooks show them."""
        cells = ((str(each.number), each.title, each.verdict) for each in self.findings)
        rows = "".join(f"<tr>{''.join(f'<td>{escaping.escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
        return f"<p><b>{escaping.escape(self.title)}</b></p><table>{rows}</table>"

    def _rows(self, table: Table) -> Sequence[dict[str, Any]]:
        if table == "collapse":
            return [{"prompt": prompt, **measures} for prompt, measures in self.collapse.items()]
        if table == "findings":
            return [each.model_dump(exclude={"numbers"}) for each in self.findings]
        if table == "numbers":
            named = ((each.number, name, value) for each in self.findings for name, value in _named(each.numbers))
            return [{"finding": number, "name": name, "value": value} for number, name, value in named]
        found: list[dict[str, Any]] = self.info.model_dump(mode="json")[table]
        return found


def _named(numbers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Numbers with their names, those inside another under both, ``a.b``."""
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", found) for inner, found in _named(value))
        else:
            yield name, value


def read_report(run_id: str, *, numbers: bytes, page: bytes) -> Report:
    """A report out of the two files that a run has left."""
    try:
        info = ReportInfo.model_validate_json(numbers)
    except pydantic.ValidationError as error:
        raise UnexpectedAnswerError(f"expected a report: {error}") from error
    return Report(run_id, info=info, html=page.decode("utf-8", "replace"))
