"""Permutation tests over a matrix of distances or kernels: all permutations at once, by one matrix product.

For a symmetric matrix M over both samples together and a 0/1 vector z that says who is in the first, the sum of M within
the first is zᵀMz, between the two zᵀM(1−z), within the second (1−z)ᵀM(1−z). All follow from M·Z for a matrix Z of
permuted labels, so that a thousand permutations cost one product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.measures.arrays import Floats

# Labels of this many permutations are multiplied at a time: memory is bounded, and the product is still large.
CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of the matrix's entries by where their two points lie; one number a permutation, the observed one first.

    within_first and within_second count each pair twice, and the diagonal once.
    """

    within_first: Floats
    within_second: Floats
    between: Floats


@dataclass(frozen=True, kw_only=True)
class PermutationResult:
    """A statistic with the share of permutations that reach it, the observed one among them (Phipson and Smyth 2010)."""

    value: float
    p_value: float


def permuted_sums(matrix: Floats, *, n_first: int, permutations: int, seed: int) -> Sums:
    """Sums of ``matrix`` `[n, n]` under the observed split (the first ``n_first`` points) and under random ones.

    Raises:
        ValueError: one side would be empty.
    """
    n = len(matrix)
    if not 0 < n_first < n:
        raise ValueError(f"expected points on both sides, got {n_first} of {n}")
    labels = _labels(n, n_first=n_first, permutations=permutations, seed=seed)
    rows = matrix.sum(1)
    total = rows.sum()
    parts = []
    for start in range(0, labels.shape[1], CHUNK):
        chunk = labels[:, start : start + CHUNK].astype(matrix.dtype)
        within = np.einsum("ij,ij->j", chunk, matrix @ chunk)
        # Row sums of the first, less what stays within it, leads over to the second.
        parts.append((within, rows @ chunk - within))
    within_first = np.concatenate([within for within, _ in parts])
    between = np.concatenate([between for _, between in parts])
    return Sums(within_first=within_first, within_second=total - within_first - 2 * between, between=between)


def p_value(statistics: npt.NDArray[np.float64]) -> PermutationResult:
    """The first of ``statistics`` (the observed one) against all; large values speak against equality."""
    # Rounding must not make a permutation that equals the observed split look smaller.
    tolerance = 1e-12 * max(1.0, float(np.abs(statistics).max()))
    reached = int(np.count_nonzero(statistics >= statistics[0] - tolerance))
    return PermutationResult(value=float(statistics[0]), p_value=reached / len(statistics))


def permutation_test_loop(
    matrix: Floats, *, n_first: int, permutations: int, seed: int, statistic: Callable[[Floats, Floats, Floats], float]
) -> PermutationResult:
    """The same test written plainly, one permutation after another: what the fast form is held against.

    statistic: of the blocks (first, second, between).
    """
    labels = _labels(len(matrix), n_first=n_first, permutations=permutations, seed=seed).astype(bool)
    found = []
    for column in labels.T:
        first, second = np.flatnonzero(column), np.flatnonzero(~column)
        blocks = (matrix[np.ix_(first, first)], matrix[np.ix_(second, second)], matrix[np.ix_(first, second)])
        found.append(statistic(*blocks))
    return p_value(np.array(found))


def _labels(n: int, *, n_first: int, permutations: int, seed: int) -> npt.NDArray[np.uint8]:
    """`[n, 1 + permutations]`, one where a point is in the first sample; the observed split comes first."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((n, 1 + permutations), dtype=np.uint8)
    labels[:n_first] = 1
    labels[:, 1:] = rng.permuted(labels[:, 1:], axis=0)
    return labels
