"""Whether tuning has done what the demo promises: checked, so that a demo that ends well has shown it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from demo.tour.outcomes import Outcome

AT_MOST_BEFORE: Final = 0.50
AT_LEAST_AFTER: Final = 0.85


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one run's best prompt did. before: the better one of the bare model and the draw."""

    title: str
    prompt: str
    metric: str
    before: float
    after: float

    @property
    def lifted(self) -> bool:
        """Whether it came from where the task was not done to where it is."""
        return self.before <= AT_MOST_BEFORE and self.after >= AT_LEAST_AFTER

    def __str__(self) -> str:
        came = f"from {100 * self.before:.0f} % to {100 * self.after:.0f} %"
        return f"{self.title}: {self.prompt}, the best by validation loss, takes {self.metric} {came}."


def judge(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Of each run whose prompts were asked held-out questions."""
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
