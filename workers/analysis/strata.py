"""Rank tests within strata: what differs between strata (methods, tasks, layers) cannot be taken for an effect.

Values are ranked within their stratum, and labels are permuted within it, so the p-values hold for few values too; with
very few they simply cannot become small.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from service.measures.arrays import Floats
from workers.analysis.permutation import PermutationResult, p_value

Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True, kw_only=True)
class _Stratum:
    """ranks: of its values, centred, with a sum of squares of n − 1. statistic: of rows of permuted ranks `[p, n]`."""

    ranks: Floats
    statistic: Statistic


def kruskal_wallis_within(
    strata: Sequence[Hashable],
    labels: Sequence[Hashable],
    values: npt.ArrayLike,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> PermutationResult | None:
    """Do values differ by label: Kruskal and Wallis's (1952) H of each stratum, summed, with a permutation p-value.

    None where no stratum has two labels and two values that differ.
    """
    groups = _by_stratum(strata, np.asarray(values, dtype=np.float64))
    found = []
    for rows, given in groups:
        names = [labels[row] for row in rows]
        if len(set(names)) > 1 and np.ptp(given) > 0:
            found.append(_Stratum(ranks=_ranks(given), statistic=_h_of(names)))
    return _tested(found, permutations=permutations, seed=seed)


def spearman_within(
    strata: Sequence[Hashable], first: npt.ArrayLike, second: npt.ArrayLike, *, permutations: int = 999, seed: int = 0
) -> PermutationResult | None:
    """Do two values rise together: Spearman's (1904) rho of each stratum, averaged by its number of pairs.

    The p-value is one-sided: small where they rise together. None where no stratum has three pairs that differ on both sides.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    found, n_pairs = [], 0
    for rows, given in _by_stratum(strata, y):
        if len(rows) > 2 and np.ptp(given) > 0 and np.ptp(x[rows]) > 0:
            found.append(_Stratum(ranks=_ranks(given), statistic=_rho_of(_ranks(x[rows]))))
            n_pairs += len(rows)
    tested = _tested(found, permutations=permutations, seed=seed)
    return None if tested is None else PermutationResult(value=tested.value / n_pairs, p_value=tested.p_value)


def _by_stratum(strata: Sequence[Hashable], values: Floats) -> list[tuple[npt.NDArray[np.intp], Floats]]:
    if len(strata) != len(values):
        raise ValueError(f"expected a stratum for each value, got {len(strata)} for {len(values)}")
    rows = [np.array([i for i, one in enumerate(strata) if one == stratum]) for stratum in dict.fromkeys(strata)]
    return [(of, values[of]) for of in rows]


def _ranks(values: Floats) -> Floats:
    centred = rankdata(values) - (len(values) + 1) / 2
    scaled: Floats = centred / np.sqrt(np.square(centred).sum() / (len(values) - 1))
    return scaled


def _h_of(names: Sequence[Hashable]) -> Statistic:
    belongs = np.array([[name == label for label in dict.fromkeys(names)] for name in names], dtype=np.float64)

    def statistic(rows: Floats) -> Floats:
        # Between-group sum of squares over the variance of the ranks: H, corrected for ties.
        found: Floats = (np.square(rows @ belongs) / belongs.sum(0)).sum(1)
        return found

    return statistic


def _rho_of(ranks: Floats) -> Statistic:
    n = len(ranks)

    def statistic(rows: Floats) -> Floats:
        found: Floats = rows @ ranks * n / (n - 1)
        return found

    return statistic


def _tested(strata: Sequence[_Stratum], *, permutations: int, seed: int) -> PermutationResult | None:
    if not strata:
        return None
    rng = np.random.default_rng(seed)
    total = np.zeros(1 + permutations)
    for stratum in strata:
        rows = np.tile(stratum.ranks, (1 + permutations, 1))
        rows[1:] = rng.permuted(rows[1:], axis=1)
        total += stratum.statistic(rows)
    return p_value(total)
