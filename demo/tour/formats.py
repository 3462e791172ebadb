"""The right format of an answer, whatever its content: the share of it is what a prompt can win in any model."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

Format = Literal["number", "span"]
Row = Mapping[str, Any]
"""A line of a run's ``evaluation.jsonl``."""

FORMAT: Final = "format"
"""Name of the metric."""
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_PREFIXES: Final = {"bare": "bare/test/", "before": "draw/test/", "after": "test/"}


def is_number(row: Row) -> bool:
    """The output is one decimal number and nothing else."""
    return _NUMBER.fullmatch(row["output"].strip()) is not None


def is_span(row: Row) -> bool:
    """The output is on one line and occurs literally in the context, which is the input up to its question."""
    output = row["output"].strip()
    return bool(output) and "\n" not in output and output in row["input"].rpartition("\nQuestion:")[0]


CHECKS: Final[Mapping[Format, Callable[[Row], bool]]] = {"number": is_number, "span": is_span}


def has_format(row: Row, *, form: Format) -> bool:
    """Whether the answer has the format and ended by itself."""
    return row["finish_reason"] == "stop" and CHECKS[form](row)


def format_shares(lines: bytes, *, form: Format, member: str | None = None) -> dict[str, float]:
    """The metric ``format`` on the test split, named as the run names its metrics.

    Args:
        lines: ``evaluation.jsonl``.
        member: of a tuning run, with the shares of the bare model, the draw and the tuned prompt; None: all rows are of a
            model without a prompt.
    """
    rows = [row for line in lines.splitlines() if (row := json.loads(line))["split"] == "test"]
    if member is None:
        return _share(rows, form=form, name=f"bare/test/{FORMAT}")
    shares: dict[str, float] = {}
    for stage, prefix in _PREFIXES.items():
        own = (row for row in rows if row["stage"] == stage and (stage == "bare" or row["member"] == member))
        shares |= _share(own, form=form, name=f"{prefix}{FORMAT}")
    return shares


def _share(rows: Iterable[Row], *, form: Format, name: str) -> dict[str, float]:
    found = [has_format(row, form=form) for row in rows if row["output"] is not None]
    return {name: sum(found) / len(found)} if found else {}
