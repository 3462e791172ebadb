"""Comparison of the results of two sides: equal tokens, states within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmarks.measuring.contest import Agreement

TOLERANCE = 1e-4


def tokens_agree(label: str, got: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> Agreement:
    """All tokens are equal."""
    n_wrong, n_tokens = n_differing(got, expected)
    return Agreement(label=label, holds=n_wrong == 0, detail=f"{n_wrong} of {n_tokens:,} tokens differ")


def n_differing(got: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Number of tokens of ``got`` that differ from ``expected`` or are extra, and the number expected."""
    if len(got) != len(expected):
        raise ValueError(f"expected {len(expected)} rows, got {len(got)}.")
    n_wrong = sum(
        sum(a != b for a, b in zip(row, right, strict=False)) + abs(len(row) - len(right))
        for row, right in zip(got, expected, strict=True)
    )
    return n_wrong, sum(len(right) for right in expected)


def states_agree(label: str, got: Tensor, expected: Tensor, *, tolerance: float = TOLERANCE) -> Agreement:
    """Shapes are equal, and all values are within the tolerance."""
    if got.shape != expected.shape:
        return Agreement(label=label, holds=False, detail=f"shapes are {tuple(got.shape)} and {tuple(expected.shape)}")
    apart = float((got.float() - expected.float()).abs().max())
    detail = f"{got.numel():,} numbers, at most {apart:.1e} apart"
    return Agreement(label=label, holds=apart <= tolerance, detail=detail)
