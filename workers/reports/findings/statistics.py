"""Statistics shared by the findings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from workers.analysis.intervals import bootstrap_interval
from workers.analysis.permutation import PermutationResult
from workers.analysis.strata import kruskal_wallis_within, spearman_within
from workers.reports.evidence.evidence import TunedPrompt

LEVEL = 0.05
"""Significance level of p-values."""
MIN_VALUES = 2
"""Of a mean, for a verdict."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """Number of bootstrap resamples and permutations, and their seed."""

    samples: int
    seed: int


def summary(values: npt.ArrayLike, *, resampling: Resampling) -> dict[str, float]:
    """Mean with its bootstrap interval, as a JSON object."""
    return bootstrap_interval(values, samples=resampling.samples, seed=resampling.seed).to_json()


def by_label(labels: Sequence[str], values: Sequence[float], *, resampling: Resampling) -> dict[str, dict[str, float]]:
    """``summary`` of the values of each label."""
    groups: dict[str, list[float]] = {}
    for label, value in zip(labels, values, strict=True):
        groups.setdefault(label, []).append(value)
    return {label: summary(group, resampling=resampling) for label, group in groups.items()}


def by_method_and_rate(
    prompts: Sequence[TunedPrompt],
    collapse: Mapping[str, Mapping[str, Any]],
    *,
    measures: Sequence[str],
    resampling: Resampling,
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """``summary`` over prompts by method and rate, then measure, then prior; measures without values are left out."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for setting in dict.fromkeys(prompt.method_and_rate for prompt in prompts):
        for measure in measures:
            own = [
                prompt for prompt in prompts if prompt.method_and_rate == setting and measure in collapse[prompt.ref]
            ]
            if own:
                values = [collapse[prompt.ref][measure] for prompt in own]
                table = by_label([prompt.prior for prompt in own], values, resampling=resampling)
                found.setdefault(setting, {})[measure] = table
    return found


def kruskal_wallis(
    strata: Sequence[Hashable], labels: Sequence[str], values: Sequence[float], *, resampling: Resampling
) -> dict[str, float] | None:
    """:func:`kruskal_wallis_within` as a JSON object: ``h`` and ``p_value``."""
    return _as_json(
        "h", kruskal_wallis_within(strata, labels, values, permutations=resampling.samples, seed=resampling.seed)
    )


def spearman(
    strata: Sequence[Hashable], first: Sequence[float], second: Sequence[float], *, resampling: Resampling
) -> dict[str, float] | None:
    """:func:`spearman_within` as a JSON object: ``rho`` and the one-sided ``p_value``."""
    return _as_json(
        "rho", spearman_within(strata, first, second, permutations=resampling.samples, seed=resampling.seed)
    )


def is_significant(test: Mapping[str, float] | None) -> bool | None:
    """Whether the p-value is below ``LEVEL``; None if the test could not be computed."""
    return None if test is None else test["p_value"] < LEVEL


def is_above(interval: Mapping[str, float], threshold: float) -> bool | None:
    """True if the whole interval is above the threshold, False if it is below, None if it contains it.

    Also None for an interval of one value: its bootstrap has no width, which says nothing about other values.
    """
    if interval["n"] < MIN_VALUES:
        return None
    if interval["low"] > threshold:
        return True
    return False if interval["high"] < threshold else None


def has_few(table: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether some mean of a ``by_label`` table is over fewer values than a verdict needs."""
    return any(row["n"] < MIN_VALUES for row in table.values())


def spread_of_means(table: Mapping[str, Mapping[str, Any]]) -> float:
    """Largest minus smallest mean of a ``by_label`` table."""
    means = [row["value"] for row in table.values()]
    return float(max(means) - min(means)) if means else 0.0


def _as_json(name: str, result: PermutationResult | None) -> dict[str, float] | None:
    return None if result is None else {name: result.value, "p_value": result.p_value}
