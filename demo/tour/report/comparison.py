"""Before and after tuning, one table per task: no prompt, the instruction, the draw, and the tuned prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from demo.tour.outcomes import Outcome, Score
from demo.tour.report.tables import NONE, shown_metrics
from demo.tour.report.verdict import Baselines

LEGEND: Final = (
    "*format*: share of answers that have the right format and end there. *loss*: nats per token of the answer and the end of "
    "text, given the question. All rows have the same held-out questions. *bare*: the question alone. *instructed*: with an "
    "instruction in the model's chat template. *draw*: the vectors before tuning."
)


@dataclass(frozen=True)
class Row:
    """One variant with its metrics, by name without the split; None: not measured."""

    variant: str
    metrics: Mapping[str, Score | None]


def comparison(outcome: Outcome, *, baselines: Baselines, reference: str) -> list[Row]:
    """Rows of a run: the bare model, the instructed model if it was evaluated, and each member before and after."""
    names = [*(name.replace(" ", "_") for name in shown_metrics(outcome)), "loss"]
    bare = outcome.members[0].metrics
    rows = [_row("bare", bare, prefix="bare/test/", names=names)]
    if (instructed := baselines.get(outcome.job.dataset)) is not None:
        rows.append(_row(reference, instructed, prefix="bare/test/", names=names))
    for member in outcome.members:
        rows.append(_row(f"{member.prior}, draw", member.metrics, prefix="draw/test/", names=names))
        rows.append(_row(f"{member.prior}, tuned", member.metrics, prefix="test/", names=names))
    return rows


def columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """Column headings; loss is last."""
    return ("variant", *(name.replace("_", " ") for name in rows[0].metrics))


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Cells of the table."""
    return [(row.variant, *(_cell(name, score) for name, score in row.metrics.items())) for row in rows]


def rich_table(rows: Sequence[Row]) -> Table:
    """A table for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns(rows):
        table.add_column(column)
    for one in cells(rows):
        table.add_row(*map(escape, one), style="bold" if one[0].endswith(", tuned") else "")
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    lines = [columns(rows), tuple("---" for _ in columns(rows)), *cells(rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_fields(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same numbers in full precision."""
    return [
        {"variant": row.variant, **{name: asdict(score) for name, score in row.metrics.items() if score is not None}}
        for row in rows
    ]


def _row(variant: str, metrics: Mapping[str, float], *, prefix: str, names: Sequence[str]) -> Row:
    return Row(variant, {name: Score.find(metrics, prefix + name) for name in names})


def _cell(name: str, score: Score | None) -> str:
    if score is None:
        return NONE
    if name == "loss":
        return f"{score.value:.2f}"
    interval = "" if score.low is None or score.high is None else f" [{100 * score.low:.0f}, {100 * score.high:.0f}]"
    return f"{100 * score.value:.0f} %{interval}"
