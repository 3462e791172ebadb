"""Quality of points that are projected onto a fitted map, compared with refitting the map with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances

from service.projection.arrays import Floats
from service.projection.bases import FitSettings, fit_basis
from service.projection.quality import N_NEIGHBORS

MIN_SAMPLE = 25
MAX_SAMPLE = 2000
"""Points that are fitted twice; of more points a seeded sample."""

_HELD_OUT_SHARE = 5


@dataclass(frozen=True, kw_only=True)
class NeighbourQuality:
    """Trustworthiness (Venna and Kaski 2001) and neighbour overlap of some points among all points."""

    trustworthiness: float
    neighbor_overlap: float


@dataclass(frozen=True, kw_only=True)
class Refitting:
    """Quality of ``n_held_out`` points: projected onto a map of the other points, and on a map refitted with them."""

    n_held_out: int
    placed: NeighbourQuality
    refitted: NeighbourQuality


def compare_refitting(
    vectors: npt.NDArray[np.float32], *, settings: FitSettings, sample: int, seed: int
) -> Refitting | None:
    """Hold out a fifth of a seeded sample of the points `[n, d]`; None for fewer than ``MIN_SAMPLE`` points."""
    n = min(len(vectors), sample, MAX_SAMPLE)
    if n < MIN_SAMPLE:
        return None
    chosen = np.random.default_rng(seed).permutation(len(vectors))[:n]
    n_held_out = n // _HELD_OUT_SHARE
    # Sorted, because the points may be read from a file; which ones are held out is random all the same.
    kept, held_out = (np.sort(part) for part in (chosen[n_held_out:], chosen[:n_held_out]))
    high = np.concatenate([vectors[kept], vectors[held_out]])
    basis, places, _ = fit_basis(high[: len(kept)], settings=settings)
    placed = np.concatenate([places, basis.place(high[len(kept) :])])
    _, refitted, _ = fit_basis(high, settings=settings)
    rows = np.arange(len(kept), n)
    metric = settings.metric if settings.method != "pca" else "euclidean"
    return Refitting(
        n_held_out=n_held_out,
        placed=neighbour_quality(high, placed, rows=rows, metric=metric),
        refitted=neighbour_quality(high, refitted, rows=rows, metric=metric),
    )


def neighbour_quality(
    high: Floats, low: Floats, *, rows: npt.NDArray[np.int64], metric: str = "euclidean", k: int = N_NEIGHBORS
) -> NeighbourQuality:
    """Quality of the coordinates ``low`` `[n, k]` of the points ``high`` `[n, d]`, for the points ``rows``.

    With U(i) the points among the k nearest of i on the map but not in the space, and r(i, j) the rank of j among the
    neighbours of i in the space, trustworthiness is 1 − 2 / (m·k·(2n − 3k − 1)) · Σ_i Σ_{j ∈ U(i)} (r(i, j) − k) over the m
    rows.
    """
    n = len(high)
    k = min(k, (n - 1) // 2)
    ranks = _ranks(high, rows=rows, metric=metric)
    nearest = np.argsort(_distances(low, rows=rows, metric="euclidean"), axis=1, kind="stable")[:, :k]
    too_far = np.take_along_axis(ranks, nearest, axis=1) - k
    penalty = np.maximum(too_far, 0).sum()
    return NeighbourQuality(
        trustworthiness=float(1 - penalty * 2 / (len(rows) * k * (2 * n - 3 * k - 1))),
        neighbor_overlap=float((too_far <= 0).mean()),
    )


def _ranks(points: Floats, *, rows: npt.NDArray[np.int64], metric: str) -> npt.NDArray[np.int64]:
    """Rank of every point among the neighbours of each row, starting at 1."""
    order = np.argsort(_distances(points, rows=rows, metric=metric), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None, :], axis=1)
    return ranks


def _distances(points: Floats, *, rows: npt.NDArray[np.int64], metric: str) -> npt.NDArray[np.float64]:
    distances: npt.NDArray[np.float64] = pairwise_distances(points[rows], points, metric=metric).astype(np.float64)
    # No point is its own neighbour.
    distances[np.arange(len(rows)), rows] = np.inf
    return distances
