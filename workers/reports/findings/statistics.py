"""Small statistics that several findings share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from workers.analysis.intervals import interval_of
from workers.analysis.permutation import Tested
from workers.analysis.strata import correlates_within, differs_within
from workers.reports.evidence.evidence import Tuned

LEVEL = 0.05
"""Of p-values, below which something is held for shown."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much is spent on intervals and permutations, and the seed of all of them."""

    samples: int
    seed: int


def summary(values: npt.ArrayLike, *, budget: Budget) -> dict[str, float]:
    """Mean with its bootstrap interval, as plain numbers."""
    return interval_of(values, samples=budget.samples, seed=budget.seed).to_json()


def by_label(labels: Sequence[str], values: Sequence[float], *, budget: Budget) -> dict[str, dict[str, float]]:
    """``summary`` of the values of each label."""
    groups: dict[str, list[float]] = {}
    for label, value in zip(labels, values, strict=True):
        groups.setdefault(label, []).append(value)
    return {label: summary(group, budget=budget) for label, group in groups.items()}


def by_manner(
    prompts: Sequence[Tuned], collapse: Mapping[str, Mapping[str, Any]], *, measures: Sequence[str], budget: Budget
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """By manner, measure and prior: ``summary`` over prompts, of those measures that any has."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for manner in dict.fromkeys(prompt.manner for prompt in prompts):
        for measure in measures:
            own = [prompt for prompt in prompts if prompt.manner == manner and measure in collapse[prompt.ref]]
            if own:
                values = [collapse[prompt.ref][measure] for prompt in own]
                table = by_label([prompt.prior for prompt in own], values, budget=budget)
                found.setdefault(manner, {})[measure] = table
    return found


def differs(
    strata: Sequence[Hashable], labels: Sequence[str], values: Sequence[float], *, budget: Budget
) -> dict[str, float] | None:
    """:func:`differs_within` as plain numbers: ``h`` and ``p_value``."""
    return _plain("h", differs_within(strata, labels, values, permutations=budget.samples, seed=budget.seed))


def correlates(
    strata: Sequence[Hashable], first: Sequence[float], second: Sequence[float], *, budget: Budget
) -> dict[str, float] | None:
    """:func:`correlates_within` as plain numbers: ``rho`` and the one-sided ``p_value``."""
    return _plain("rho", correlates_within(strata, first, second, permutations=budget.samples, seed=budget.seed))


def is_shown(test: Mapping[str, float] | None) -> bool | None:
    """Whether a test's p-value is below ``LEVEL``; None where it could not be made."""
    return None if test is None else test["p_value"] < LEVEL


def above(interval: Mapping[str, float], threshold: float) -> bool | None:
    """Whether a whole interval lies above a threshold (True), or below it (False); None where it straddles."""
    if interval["low"] > threshold:
        return True
    return False if interval["high"] < threshold else None


def spread_of_means(table: Mapping[str, Mapping[str, Any]]) -> float:
    """The largest mean of a ``by_label`` table less the smallest."""
    means = [row["value"] for row in table.values()]
    return float(max(means) - min(means)) if means else 0.0


def _plain(name: str, tested: Tested | None) -> dict[str, float] | None:
    return None if tested is None else {name: tested.value, "p_value": tested.p_value}
