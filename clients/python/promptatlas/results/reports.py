"""A report: findings with their verdicts, tables, and an HTML page."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.optional import import_optional
from promptatlas.types import Finding, Separation
from promptatlas.types import Report as ReportInfo

if TYPE_CHECKING:
    import pandas

HTML, NUMBERS = "report.html", "report.json"

Table = Literal["findings", "numbers", "collapse", "separation", "trajectories", "shape"]


class Report:
    """The result of a report run. Requires no server.

    Args:
        run_id: the run that made the report.
        info: the content of ``report.json``.
        html: the page, in one self-contained file.
    """

    def __init__(self, run_id: str, *, info: ReportInfo, html: str) -> None:
        self.id = run_id
        self.info = info
        self.html = html

    @property
    def title(self) -> str:
        """Title of the report."""
        return self.info.title

    @property
    def model(self) -> str:
        """The model that was measured."""
        return self.info.model

    @property
    def findings(self) -> list[Finding]:
        """Findings with verdict, the rule of the verdict, and numbers with confidence intervals."""
        return self.info.findings

    @property
    def collapse(self) -> dict[str, dict[str, Any]]:
        """Position of tuned vectors relative to token embeddings, by prompt and measure."""
        return self.info.collapse

    @property
    def separation(self) -> list[Separation]:
        """Separation of the tasks, by layer and measure."""
        return self.info.separation

    @property
    def trajectories(self) -> list[dict[str, Any]]:
        """Statistics of generations compared with random walks."""
        return self.info.trajectories

    @property
    def shape(self) -> list[dict[str, Any]]:
        """Shape of the distribution of activations, by layer."""
        return self.info.shape

    def finding(self, number: int) -> Finding:
        """One finding by its number. Raises KeyError if the report does not have it."""
        findings = {finding.number: finding for finding in self.findings}
        if number not in findings:
            raise KeyError(f"no finding {number}; there are {', '.join(map(str, findings)) or 'none'}")
        return findings[number]

    def to_pandas(self, table: Table = "findings") -> pandas.DataFrame:
        """One of the tables as a frame. A nested value is in the column ``outer.inner``. Requires pandas.

        Args:
            table: ``findings``, ``numbers`` (one row for each number of a finding: ``finding``, ``name``, ``value``),
                ``collapse`` (one row a prompt), ``separation``, ``trajectories`` or ``shape``.
        """
        if table not in get_args(Table):
            raise ValueError(f"table: expected one of {', '.join(get_args(Table))}, got {table!r}")
        pd = import_optional("pandas", extra="pandas")
        frame: pandas.DataFrame = pd.json_normalize(list(self._rows(table)))
        return frame

    def save(self, path: str | Path) -> Path:
        """Saves the page, or the whole report as JSON if the path ends in ``.json``."""
        target = Path(path)
        is_json = target.suffix == ".json"
        target.write_text(self.info.model_dump_json(indent=2) if is_json else self.html, encoding="utf-8")
        return target

    def __repr__(self) -> str:
        verdicts = {finding.number: finding.verdict for finding in self.findings}
        return f"Report(id={self.id!r}, title={self.title!r}, verdicts={verdicts})"

    def _repr_html_(self) -> str:
        """Table of verdicts for notebooks."""
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
        rows: list[dict[str, Any]] = self.info.model_dump(mode="json")[table]
        return rows


def _named(numbers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Numbers with their names; the name of a nested number is ``outer.inner``."""
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", number) for inner, number in _named(value))
        else:
            yield name, value


def read_report(run_id: str, *, numbers: bytes, page: bytes) -> Report:
    """A report from the two artifacts of its run. Raises UnexpectedAnswerError."""
    try:
        info = ReportInfo.model_validate_json(numbers)
    except pydantic.ValidationError as error:
        raise UnexpectedAnswerError(f"expected a report: {error}") from error
    return Report(run_id, info=info, html=page.decode("utf-8", "replace"))
