"""Quality of a map: how well it preserves neighbourhoods of the original space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.manifold import trustworthiness

from service.errors import InvalidRequest
from service.projection.arrays import as_vectors
from service.projection.neighbours import nearest

N_NEIGHBORS = 15


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Measured on ``n_neighbors`` neighbours within a sample of ``n_points``.

    trustworthiness: Venna and Kaski (2001); 1 if all neighbours on the map are neighbours in the space.
    neighbor_overlap: mean share of a point's nearest neighbours in the space that are its nearest neighbours on the map.
    """

    trustworthiness: float
    neighbor_overlap: float
    n_points: int
    n_neighbors: int


def quality_of(
    vectors: npt.NDArray[np.float32],
    placed: npt.NDArray[np.float32],
    *,
    sample: int,
    seed: int,
    metric: str = "euclidean",
) -> Quality:
    """Compare points `[n, d]` with their coordinates `[n, k]`, on a seeded sample.

    Raises:
        InvalidRequest: fewer than four points.
    """
    if len(vectors) != len(placed):
        raise InvalidRequest(f"Expected as many coordinates as points, got {len(placed)} and {len(vectors)}.")
    if len(vectors) < 4:
        raise InvalidRequest(f"Expected at least 4 points to measure the quality of a map, got {len(vectors)}.")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:sample])
    high, low = as_vectors(vectors[chosen]), as_vectors(placed[chosen], name="coordinates")
    k = min(N_NEIGHBORS, (len(chosen) - 1) // 2)
    return Quality(
        trustworthiness=float(trustworthiness(high, low, n_neighbors=k, metric=metric)),
        neighbor_overlap=_overlap(_others(high, k=k, metric=metric), _others(low, k=k, metric="euclidean")),
        n_points=len(chosen),
        n_neighbors=k,
    )


def _others(points: npt.NDArray[np.float32], *, k: int, metric: str) -> npt.NDArray[np.int64]:
    """The ``k`` nearest other points of each point; ties are broken by order."""
    found, _ = nearest(points, points, k=k + 1, metric=metric)
    own = found == np.arange(len(points))[:, None]
    # A point with duplicates may be missing from its own neighbours: then the last neighbour is dropped instead.
    own[~own.any(1), -1] = True
    others: npt.NDArray[np.int64] = found[~own].reshape(len(points), k)
    return others


def _overlap(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    shared = (first[:, :, None] == second[:, None, :]).any(2)
    return float(shared.mean())
