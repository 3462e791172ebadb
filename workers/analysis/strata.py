"""Rank tests within strata, so that differences between strata (methods, tasks, layers) are not confused with an effect.

Values are ranked and permuted within their stratum, so p-values are valid for small samples too.
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
    """ranks: centred, with a sum of squares of n − 1. statistic: maps permuted ranks `[p, n]` to `[p]`."""

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
    """Test whether values differ between labels: Kruskal–Wallis H (1952) summed over strata, with a permutation p-value.

    None if no stratum has two different labels and two different values.
    """
    groups = _by_stratum(strata, np.asarray(values, dtype=np.float64))
    found = []
    for rows, given in groups:
        names = [labels[row] for row in rows]
        if len(set(names)) > 1 and np.ptp(given) > 0:
            found.append(_Stratum(ranks=_ranks(given), statistic=_h_of(names)))
    return _permutation_test(found, permutations=permutations, seed=seed)


def spearman_within(
    strata: Sequence[Hashable], first: npt.ArrayLike, second: npt.ArrayLike, *, permutations: int = 999, seed: int = 0
) -> PermutationResult | None:
    """Test for positive correlation: Spearman's rho (1904) averaged over strata, weighted by the number of pairs.

    The p-value is one-sided. None if no stratum has three pairs with variation in both values.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    found, n_pairs = [], 0
    for rows, given in _by_stratum(strata, y):
        if len(rows) > 2 and np.ptp(given) > 0 and np.ptp(x[rows]) > 0:
            found.append(_Stratum(ranks=_ranks(given), statistic=_rho_of(_ranks(x[rows]))))
            n_pairs += len(rows)
    result = _permutation_test(found, permutations=permutations, seed=seed)
    return None if result is None else PermutationResult(value=result.value / n_pairs, p_value=result.p_value)


def _by_stratum(strata: Sequence[Hashable], values: Floats) -> list[tuple[npt.NDArray[np.intp], Floats]]:
    if len(strata) != len(values):
        raise ValueError(f"expected one stratum per value, got {len(strata)} strata for {len(values)} values")
    rows = [np.array([i for i, name in enumerate(strata) if name == stratum]) for stratum in dict.fromkeys(strata)]
    return [(indices, values[indices]) for indices in rows]


def _ranks(values: Floats) -> Floats:
    centred = rankdata(values) - (len(values) + 1) / 2
    scaled: Floats = centred / np.sqrt(np.square(centred).sum() / (len(values) - 1))
    return scaled


def _h_of(names: Sequence[Hashable]) -> Statistic:
    membership = np.array([[name == label for label in dict.fromkeys(names)] for name in names], dtype=np.float64)

    def statistic(rows: Floats) -> Floats:
        # Between-group sum of squares over the variance of the ranks: H, corrected for ties.
        found: Floats = (np.square(rows @ membership) / membership.sum(0)).sum(1)
        return found

    return statistic


def _rho_of(ranks: Floats) -> Statistic:
    n = len(ranks)

    def statistic(rows: Floats) -> Floats:
        found: Floats = rows @ ranks * n / (n - 1)
        return found

    return statistic


def _permutation_test(strata: Sequence[_Stratum], *, permutations: int, seed: int) -> PermutationResult | None:
    if not strata:
        return None
    rng = np.random.default_rng(seed)
    total = np.zeros(1 + permutations)
    for stratum in strata:
        rows = np.tile(stratum.ranks, (1 + permutations, 1))
        rows[1:] = rng.permuted(rows[1:], axis=1)
        total += stratum.statistic(rows)
    return p_value(total)
