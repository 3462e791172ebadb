"""Tables of results, one per run: for a terminal, in Markdown and in JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from demo.tour.formats import FORMAT
from demo.tour.outcomes import Member, Outcome, Score

NONE: Final = "–"
LEGEND: Final = (
    "*before → after*: score on held-out examples, with the 95 % interval of the tuned prompt. "
    "*steps*: number of steps until the validation loss reaches the best loss of the run's slowest prompt. "
    "*moved*: distance from the draw to the tuned vectors. *to a token*: distance from the tuned vectors to the nearest "
    "token at their layer, with that of the draw in brackets. 1 is the mean distance between two tokens at that layer."
)


def columns(outcome: Outcome) -> tuple[str, ...]:
    """Column headings of a run's table."""
    loss = f"steps to loss {outcome.common_loss:.3g}" if outcome.common_loss is not None else "steps"
    several = len({member.lr for member in outcome.members}) > 1
    rates = ("lr",) if several else ()
    scores = (f"{name}, before → after" for name in shown_metrics(outcome))
    return ("prior", "seed", *rates, *scores, "test loss", loss, "moved", "to a token")


def shown_metrics(outcome: Outcome) -> list[str]:
    """Names of the scores in a run's table, higher is better."""
    job = outcome.job
    names = [job.metric, *job.also, *([FORMAT] if job.format is not None else [])]
    return [name.replace("_", " ") for name in names]


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Cells of a run's table, one row per member."""
    return [_row(outcome, member, with_rate="lr" in columns(outcome)) for member in outcome.members]


def title(outcome: Outcome) -> str:
    """The line above a run's table."""
    job = outcome.job
    bare = outcome.bare(job.metric)
    alone = f"; the model alone: {_percent(bare.value)}" if bare is not None else ""
    steps, rate = job.optimizer["steps"], job.optimizer["lr"]
    return f"{job.title}: {len(outcome.members)} prompts in one run, {steps} steps, lr {rate}{alone}"


def rich_table(outcome: Outcome) -> Table:
    """A table for a terminal. The best prompt by validation loss is bold."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns(outcome):
        table.add_column(column)
    for member, cells in zip(outcome.members, rows(outcome), strict=True):
        table.add_row(*map(escape, cells), style="bold" if member is outcome.best else "")
    return table


def markdown(outcomes: Iterable[Outcome]) -> str:
    """All tables with their legend."""
    parts = [f"{title(outcome)}\n\n{markdown_table(outcome)}" for outcome in outcomes]
    return "\n".join([*parts, LEGEND]) + "\n"


def markdown_table(outcome: Outcome) -> str:
    """One table. The best prompt by validation loss is bold."""
    lines = [columns(outcome), tuple("---" for _ in columns(outcome))]
    for member, cells in zip(outcome.members, rows(outcome), strict=True):
        lines.append(tuple(f"**{cell}**" for cell in cells) if member is outcome.best else cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def as_json(outcomes: Sequence[Outcome], **facts: Any) -> str:
    """The contents of the tables and further numbers, in full precision."""
    return json.dumps({**facts, "runs": [_run(outcome) for outcome in outcomes]}, indent=2, allow_nan=False) + "\n"


def _row(outcome: Outcome, member: Member, *, with_rate: bool) -> tuple[str, ...]:
    distances = member.distances
    metrics = [name.replace(" ", "_") for name in shown_metrics(outcome)]
    steps = outcome.steps_to_common(member)
    rates = (f"{member.lr:g}",) if with_rate else ()
    return (
        member.prior,
        str(member.seed),
        *rates,
        *(_before_and_after(member.before(metric), member.after(metric)) for metric in metrics),
        _pair(member.before("loss"), member.after("loss")),
        NONE if steps is None else str(steps),
        NONE if distances is None else f"{distances.moved:.2f}",
        NONE if distances is None else f"{distances.to_token:.2f} ({distances.draw_to_token:.2f})",
    )


def _before_and_after(before: Score | None, after: Score | None) -> str:
    if before is None or after is None:
        return NONE
    interval = "" if after.low is None or after.high is None else f" [{100 * after.low:.0f}, {100 * after.high:.0f}]"
    return f"{_percent(before.value)} → {_percent(after.value)}{interval}"


def _pair(before: Score | None, after: Score | None) -> str:
    return NONE if before is None or after is None else f"{before.value:.2f} → {after.value:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _run(outcome: Outcome) -> dict[str, Any]:
    job = outcome.job
    about = {"title": job.title, "dataset": job.dataset, "method": dict(job.method), "optimizer": dict(job.optimizer)}
    measured = {"metric": job.metric, "common_validation_loss": outcome.common_loss, "best": outcome.best.prompt}
    members = [_member(outcome, member, spec=job.priors[member.prior]) for member in outcome.members]
    return {**about, "run_id": outcome.run_id, "seconds": outcome.seconds, **measured, "members": members}


def _member(outcome: Outcome, member: Member, *, spec: Any) -> dict[str, Any]:
    return {
        "prompt": member.prompt,
        "prior": {"label": member.prior, **spec},
        "seed": member.seed,
        "lr": member.lr,
        "status": member.status,
        "steps_to_common_loss": outcome.steps_to_common(member),
        "distances": None if member.distances is None else asdict(member.distances),
        "distances_by_tensor": {name: asdict(one) for name, one in member.distances_by_tensor.items()},
        "metrics": dict(member.metrics),
    }
