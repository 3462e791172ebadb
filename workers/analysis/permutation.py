"""Two-sample permutation tests on a matrix of distances or kernels: all permutations by one matrix product.

Let M be the symmetric matrix over both samples and z the 0/1 vector that marks the first. The sum of M within the first
sample is zᵀMz, between the samples zᵀM(1−z), within the second (1−z)ᵀM(1−z). All follow from M·Z for a matrix Z of
permuted labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.measures.arrays import Floats

# Permutations per matrix product; bounds memory.
CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of matrix entries within and between the samples, one per permutation, the observed split first.

    within_first and within_second count each pair twice and the diagonal once.
    """

    within_first: Floats
    within_second: Floats
    between: Floats


@dataclass(frozen=True, kw_only=True)
class PermutationResult:
    """A statistic and its p-value: the share of permutations that reach it, including the observed split.

    Phipson and Smyth (2010).
    """

    value: float
    p_value: float


def permuted_sums(matrix: Floats, *, n_first: int, permutations: int, seed: int) -> Sums:
    """Sums of ``matrix`` `[n, n]` under the observed split (the first ``n_first`` points) and under random ones.

    Raises:
        ValueError: One sample is empty.
    """
    n = len(matrix)
    if not 0 < n_first < n:
        raise ValueError(f"expected points in both samples, got {n_first} of {n} in the first")
    labels = _labels(n, n_first=n_first, permutations=permutations, seed=seed)
    rows = matrix.sum(1)
    total = rows.sum()
    parts = []
    for start in range(0, labels.shape[1], CHUNK):
        chunk = labels[:, start : start + CHUNK].astype(matrix.dtype)
        within = np.einsum("ij,ij->j", chunk, matrix @ chunk)
        # Row sums of the first sample minus the sum within it give the sum between the samples.
        parts.append((within, rows @ chunk - within))
    within_first = np.concatenate([within for within, _ in parts])
    between = np.concatenate([between for _, between in parts])
    return Sums(within_first=within_first, within_second=total - within_first - 2 * between, between=between)


def p_value(statistics: npt.NDArray[np.float64]) -> PermutationResult:
    """One-sided p-value of the first of ``statistics``, the observed one; large values are evidence against equality."""
    # A permutation equal to the observed split must not become smaller by rounding.
    tolerance = 1e-12 * max(1.0, float(np.abs(statistics).max()))
    reached = int(np.count_nonzero(statistics >= statistics[0] - tolerance))
    return PermutationResult(value=float(statistics[0]), p_value=reached / len(statistics))


def permutation_test_loop(
    matrix: Floats, *, n_first: int, permutations: int, seed: int, statistic: Callable[[Floats, Floats, Floats], float]
) -> PermutationResult:
    """Reference implementation with one loop iteration per permutation, for tests and benchmarks of the fast form.

    statistic: Function of the blocks (within first, within second, between).
    """
    labels = _labels(len(matrix), n_first=n_first, permutations=permutations, seed=seed).astype(bool)
    found = []
    for column in labels.T:
        first, second = np.flatnonzero(column), np.flatnonzero(~column)
        blocks = (matrix[np.ix_(first, first)], matrix[np.ix_(second, second)], matrix[np.ix_(first, second)])
        found.append(statistic(*blocks))
    return p_value(np.array(found))


def _labels(n: int, *, n_first: int, permutations: int, seed: int) -> npt.NDArray[np.uint8]:
    """`[n, 1 + permutations]`, 1 if the point is in the first sample; column 0 is the observed split."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((n, 1 + permutations), dtype=np.uint8)
    labels[:n_first] = 1
    labels[:, 1:] = rng.permuted(labels[:, 1:], axis=0)
    return labels
