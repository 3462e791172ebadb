"""Exact nearest neighbours in few dimensions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from service.projection.arrays import Floats

Ints = npt.NDArray[np.int64]


def nearest(queries: Floats, points: Floats, *, k: int, metric: str = "euclidean") -> tuple[Ints, Floats]:
    """Indices and distances `[n, k]` of the ``k`` nearest ``points`` of each query, nearest first."""
    distances, indices = (
        NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(points).kneighbors(queries)
    )
    return indices.astype(np.int64), distances.astype(np.float32)
