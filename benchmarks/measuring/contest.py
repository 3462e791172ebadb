"""Contests: sides that do the same work are first compared and then timed in turn.

Knows nothing of engines or models: a side is a function.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SECONDS = "seconds"

Metrics = Mapping[str, float]
Round = Mapping[str, Metrics]
"""Side → metric → value, for one round."""


class Unavailable(RuntimeError):
    """A contest cannot be opened here; the message says what is missing."""


def _nothing(output: Any) -> Metrics:
    return {}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One implementation of the work.

    run: the timed work; what it returns is compared with the other sides'.
    metrics: further numbers, read from what ``run`` returned.
    """

    name: str
    run: Callable[[], Any]
    metrics: Callable[[Any], Metrics] = _nothing


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether sides gave the same result, and how far they differ."""

    label: str
    holds: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A number per round, and a bound on its median; without a bound it is only reported."""

    label: str
    value: Callable[[Round], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A piece of work, its sides and goals.

    compare: takes what each side returned in the warm-up.
    notes: facts about the numbers, such as a chosen batch size.
    """

    name: str
    work: str
    sides: Sequence[Side]
    goals: Sequence[Goal]
    compare: Callable[[Mapping[str, Any]], Sequence[Agreement]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class GoalResult:
    """Median and spread of a goal's number over all rounds."""

    label: str
    unit: str
    median: float
    low: float
    high: float
    at_least: float | None
    at_most: float | None
    reached: bool | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a contest. metrics: side → metric → one value per round."""

    name: str
    work: str
    n_rounds: int
    agreements: Sequence[Agreement]
    goals: Sequence[GoalResult]
    metrics: Mapping[str, Mapping[str, Sequence[float]]]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def is_right(self) -> bool:
        """Whether every side gave the correct result; otherwise its times are meaningless."""
        return all(agreement.holds for agreement in self.agreements)


def speedup(
    side: str, against: str, *, at_least: float | None = None, at_most: float | None = None, label: str = ""
) -> Goal:
    """Speed-up of a side over ``against``."""
    return Goal(
        label=label or f"{side} : {against}",
        at_least=at_least,
        at_most=at_most,
        value=lambda turn: turn[against][SECONDS] / turn[side][SECONDS],
    )


def quotient(
    metric: str, side: str, against: str, *, label: str, at_least: float | None = None, at_most: float | None = None
) -> Goal:
    """The side's metric divided by the other's."""
    return Goal(
        label=label,
        at_least=at_least,
        at_most=at_most,
        value=lambda turn: turn[side][metric] / turn[against][metric],
    )


def amount(metric: str, side: str, *, label: str, unit: str, at_most: float | None = None) -> Goal:
    """The side's metric itself."""
    return Goal(label=label, at_most=at_most, unit=unit, value=lambda turn: turn[side][metric])


def warm_up(contest: Contest) -> Sequence[Agreement]:
    """Run every side once, untimed, and compare the answers."""
    return tuple(contest.compare({side.name: side.run() for side in contest.sides}))


def hold(
    contest: Contest, *, n_rounds: int, say: Callable[[str], None], clock: Callable[[], float] = time.perf_counter
) -> Result:
    """Compare the sides, then time them alternately for ``n_rounds`` rounds: A B A B …"""
    agreements = warm_up(contest)
    for agreement in agreements:
        say(f"  {'equal' if agreement.holds else 'NOT EQUAL'}: {agreement.label}: {agreement.detail}")
    rounds = []
    for index in range(n_rounds):
        rounds.append({side.name: _timed(side, clock=clock) for side in contest.sides})
        times = ", ".join(f"{name} {metrics[SECONDS]:.3f} s" for name, metrics in rounds[-1].items())
        say(f"  round {index + 1} of {n_rounds}: {times}")
    return Result(
        name=contest.name,
        work=contest.work,
        n_rounds=n_rounds,
        agreements=agreements,
        goals=tuple(judge(goal, rounds) for goal in contest.goals),
        metrics={
            side.name: {metric: [turn[side.name][metric] for turn in rounds] for metric in rounds[0][side.name]}
            for side in contest.sides
        },
        notes=tuple(contest.notes),
    )


def judge(goal: Goal, rounds: Sequence[Round]) -> GoalResult:
    """Median and spread of a goal's number over the rounds."""
    values = [goal.value(turn) for turn in rounds]
    median = statistics.median(values)
    kept = [median >= goal.at_least] if goal.at_least is not None else []
    kept += [median <= goal.at_most] if goal.at_most is not None else []
    return GoalResult(
        label=goal.label,
        unit=goal.unit,
        median=median,
        low=min(values),
        high=max(values),
        at_least=goal.at_least,
        at_most=goal.at_most,
        reached=all(kept) if kept else None,
    )


def _timed(side: Side, *, clock: Callable[[], float]) -> Metrics:
    gc.collect()
    began = clock()
    output = side.run()
    return {SECONDS: clock() - began, **side.metrics(output)}
