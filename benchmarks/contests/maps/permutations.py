"""Permutation tests: one matrix product against a loop over the permutations, for two statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform

from benchmarks.measuring.contest import Agreement, Contest, Side, speedup
from workers.analysis.permutation import PermutationResult, permutation_test_loop
from workers.analysis.separation import energy_distance, mmd

SEED = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Two samples of ``n`` points."""

    n: int = 1000
    d: int = 256
    permutations: int = 999


FULL = Size()
QUICK = Size(n=120, d=32, permutations=199)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(size.n, size.d)), rng.normal(0.02, size=(size.n, size.d))

    def fast() -> dict[str, PermutationResult]:
        tests = {"energy distance": energy_distance, "MMD": mmd}
        return {name: test(first, second, permutations=size.permutations, seed=SEED) for name, test in tests.items()}

    yield Contest(
        name="permutations",
        work=(
            f"Energy distance and MMD of 2 × {size.n:,} points × {size.d} dimensions, each with {size.permutations} "
            "permutations, distances included."
        ),
        sides=[Side(name="product", run=fast), Side(name="loop", run=lambda: _plain(first, second, size))],
        goals=[speedup("product", "loop", at_least=10)],
        compare=_compare,
        notes=["The loop also computes all distances once, and sums blocks of them for each permutation."],
    )


def _plain(first: Floats, second: Floats, size: Size) -> dict[str, PermutationResult]:
    points = np.concatenate([first, second])
    distances = squareform(pdist(points))
    sigma = float(np.median(pdist(points)))
    kernel = np.exp(-(distances**2) / (2 * sigma**2))
    np.fill_diagonal(kernel, 0.0)
    options = {"n_first": size.n, "permutations": size.permutations, "seed": SEED}
    return {
        "energy distance": permutation_test_loop(distances, statistic=_energy, **options),
        "MMD": permutation_test_loop(kernel, statistic=_mmd, **options),
    }


def _energy(first: Floats, second: Floats, between: Floats) -> float:
    return float(2 * between.mean() - first.mean() - second.mean())


def _mmd(first: Floats, second: Floats, between: Floats) -> float:
    n, m = len(first), len(second)
    return float(first.sum() / (n * (n - 1)) + second.sum() / (m * (m - 1)) - 2 * between.mean())


def _compare(answers: Mapping[str, Any]) -> list[Agreement]:
    return [_agree(name, answers["product"][name], right) for name, right in answers["loop"].items()]


def _agree(name: str, got: PermutationResult, right: PermutationResult) -> Agreement:
    detail = f"values {got.value:.6g} and {right.value:.6g}, p-values {got.p_value:.4g} and {right.p_value:.4g}"
    holds = got.p_value == right.p_value and bool(np.isclose(got.value, right.value, rtol=1e-6, atol=1e-12))
    return Agreement(label=name, holds=holds, detail=detail)
