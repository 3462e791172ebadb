"""Verdicts of the demo: whether tuning reached the expected accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from demo.tour.outcomes import Outcome

AT_MOST_BEFORE: Final = 0.50
AT_LEAST_AFTER: Final = 0.85


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a run's best prompt. before: the higher score of the bare model and the draw."""

    title: str
    prompt: str
    metric: str
    before: float
    after: float

    @property
    def lifted(self) -> bool:
        """Whether the score rose from at most `AT_MOST_BEFORE` to at least `AT_LEAST_AFTER`."""
        return self.before <= AT_MOST_BEFORE and self.after >= AT_LEAST_AFTER

    def __str__(self) -> str:
        change = f"from {100 * self.before:.0f} % to {100 * self.after:.0f} %"
        return f"{self.title}: {self.prompt}, the best by validation loss, changes {self.metric} {change}."


def judge(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """The verdict of each run whose prompts were evaluated."""
    found = []
    for outcome in outcomes:
        best, metric = outcome.best, outcome.job.metric
        scores = (outcome.bare(metric), best.before(metric), best.after(metric))
        if any(score is None for score in scores):
            continue
        bare, draw, after = (score.value for score in scores if score is not None)
        found.append(
            Verdict(
                title=outcome.job.title,
                prompt=best.prompt,
                metric=metric.replace("_", " "),
                before=max(bare, draw),
                after=after,
            )
        )
    return found
