"""Verdicts of a tour: whether tuning reached what is expected of the model, and the rules with their thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from demo.tour.outcomes import Outcome, Score

AT_MOST_BEFORE: Final = 0.50
AT_LEAST_AFTER: Final = 0.85
AT_MOST_LOSS: Final = 0.80
AT_LEAST_SHARE: Final = 0.80
AT_LEAST_GAIN: Final = 0.10

Baselines = Mapping[str, Mapping[str, float]]
"""Metrics of the model with an instruction instead of a prompt, by dataset."""


class Verdict(Protocol):
    """The result of a run's best prompt. lifted: whether it is what the rule expects."""

    @property
    def lifted(self) -> bool: ...

    def fields(self) -> dict[str, Any]:
        """The numbers of the verdict, for the report."""


class Rule(Protocol):
    """When a tour has succeeded. lead: the rule in words. failure: the message if it is not met."""

    @property
    def lead(self) -> str: ...

    @property
    def failure(self) -> str: ...

    def judge(self, outcomes: Sequence[Outcome], *, baselines: Baselines) -> Sequence[Verdict]:
        """The verdict of each run whose prompts were evaluated."""

    def is_met(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether the verdicts together are a success."""


@dataclass(frozen=True, kw_only=True)
class AccuracyVerdict:
    """before: the higher score of the bare model and the draw."""

    title: str
    prompt: str
    metric: str
    before: float
    after: float

    @property
    def lifted(self) -> bool:
        """Whether the score rose from at most `AT_MOST_BEFORE` to at least `AT_LEAST_AFTER`."""
        return self.before <= AT_MOST_BEFORE and self.after >= AT_LEAST_AFTER

    def fields(self) -> dict[str, Any]:
        return {**vars(self), "lifted": self.lifted}

    def __str__(self) -> str:
        change = f"from {100 * self.before:.0f} % to {100 * self.after:.0f} %"
        return f"{self.title}: {self.prompt}, the best by validation loss, changes {self.metric} {change}."


@dataclass(frozen=True)
class AccuracyRule:
    """At least one prompt has learnt its task, by its accuracy. For a model that can solve the tasks."""

    lead: str = (
        "A prompt has learnt its task if its accuracy on held-out questions rises from at most "
        f"{100 * AT_MOST_BEFORE:.0f} % (without a prompt, and with the draw) to at least {100 * AT_LEAST_AFTER:.0f} %:"
    )
    failure: str = "no tuned prompt has learnt its task"

    def judge(self, outcomes: Sequence[Outcome], *, baselines: Baselines) -> list[AccuracyVerdict]:
        found = []
        for outcome in outcomes:
            best, metric = outcome.best, outcome.job.metric
            scores = _values(outcome.bare(metric), best.before(metric), best.after(metric))
            if scores is not None:
                bare, draw, after = scores
                title, named = outcome.job.title, metric.replace("_", " ")
                verdict = AccuracyVerdict(
                    title=title, prompt=best.prompt, metric=named, before=max(bare, draw), after=after
                )
                found.append(verdict)
        return found

    def is_met(self, verdicts: Sequence[Verdict]) -> bool:
        return any(verdict.lifted for verdict in verdicts)


@dataclass(frozen=True, kw_only=True)
class FormatVerdict:
    """before: the lowest loss and the highest share of the bare model, the instructed model and the draw."""

    title: str
    prompt: str
    loss_before: float
    loss_after: float
    format_before: float
    format_after: float

    @property
    def lifted(self) -> bool:
        """Whether the loss fell and the share of answers in the format rose, by the thresholds of this module."""
        gain = self.format_after - self.format_before
        # The tolerance keeps a gain of exactly the threshold from failing by rounding.
        rose = self.format_after >= AT_LEAST_SHARE and gain >= AT_LEAST_GAIN - 1e-9
        return self.loss_after <= AT_MOST_LOSS * self.loss_before and rose

    def fields(self) -> dict[str, Any]:
        return {**vars(self), "lifted": self.lifted}

    def __str__(self) -> str:
        shares = f"answers in the format from {100 * self.format_before:.0f} % to {100 * self.format_after:.0f} %"
        losses = f"loss from {self.loss_before:.2f} to {self.loss_after:.2f} nats per token"
        return f"{self.title}: {self.prompt}, the best by validation loss, changes {losses} and {shares}."


@dataclass(frozen=True)
class FormatRule:
    """The best prompt of each run lowers the loss and brings answers into the format. For a model that is too small for more."""

    lead: str = (
        "The best prompt of each run must lower the loss on held-out questions to at most "
        f"{100 * AT_MOST_LOSS:.0f} % of the lowest one before (without a prompt, with an instruction, with the draw), and raise "
        f"the share of answers in the right format to at least {100 * AT_LEAST_SHARE:.0f} %, {100 * AT_LEAST_GAIN:.0f} points or "
        "more above the highest one before:"
    )
    failure: str = "a tuned prompt has not lowered the loss and raised the share of answers in the format as expected"

    def judge(self, outcomes: Sequence[Outcome], *, baselines: Baselines) -> list[FormatVerdict]:
        found = []
        for outcome in outcomes:
            best, instructed = outcome.best, baselines.get(outcome.job.dataset, {})
            losses, shares = (_with_instructed(outcome, instructed, name) for name in ("loss", "format"))
            if losses is not None and shares is not None:
                verdict = FormatVerdict(
                    title=outcome.job.title,
                    prompt=best.prompt,
                    loss_before=min(losses[:-1]),
                    loss_after=losses[-1],
                    format_before=max(shares[:-1]),
                    format_after=shares[-1],
                )
                found.append(verdict)
        return found

    def is_met(self, verdicts: Sequence[Verdict]) -> bool:
        return bool(verdicts) and all(verdict.lifted for verdict in verdicts)


def _with_instructed(outcome: Outcome, instructed: Mapping[str, float], metric: str) -> list[float] | None:
    """Values of the bare and the instructed model, the draw, and the tuned prompt."""
    best, reference = outcome.best, Score.find(instructed, f"bare/test/{metric}")
    return _values(outcome.bare(metric), reference, best.before(metric), best.after(metric))


def _values(*scores: Score | None) -> list[float] | None:
    found = [score.value for score in scores if score is not None]
    return found if len(found) == len(scores) else None
