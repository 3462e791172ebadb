"""Small statistics that several findings share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from workers.analysis.intervals import interval_of


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


def differs_by_label(labels: Sequence[str], values: Sequence[float]) -> dict[str, float] | None:
    """Kruskal and Wallis's (1952) test that groups have one distribution: H and p; None where it cannot be made."""
    groups: dict[str, list[float]] = {}
    for label, value in zip(labels, values, strict=True):
        groups.setdefault(label, []).append(value)
    samples = [group for group in groups.values() if group]
    if len(samples) < 2 or max(map(len, samples)) < 2 or np.ptp(np.concatenate(samples)) == 0:
        return None
    statistic, p_value = stats.kruskal(*samples)
    return {"h": float(statistic), "p_value": float(p_value)}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> dict[str, float] | None:
    """Spearman's rank correlation and its p-value; None with fewer than four pairs, or where one side is constant."""
    if len(first) < 4 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    found = stats.spearmanr(first, second)
    return {"rho": float(found.statistic), "p_value": float(found.pvalue), "n": len(first)}


def spread_of_means(table: Mapping[str, Mapping[str, Any]]) -> float:
    """The largest mean of a ``by_label`` table less the smallest."""
    means = [row["value"] for row in table.values()]
    return float(max(means) - min(means)) if means else 0.0
