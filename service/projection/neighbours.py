"""Exact nearest neighbours in a few dimensions, for placing points and for judging maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from service.projection.arrays import Floats

Ints = npt.NDArray[np.int64]


def nearest(queries: Floats, points: Floats, *, k: int, metric: str = "euclidean") -> tuple[Ints, Floats]:
    """The ``k`` nearest of ``points`` to each of ``queries``, nearest first: indices and distances `[n, k]`."""
    distances, indices = (
        NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(points).kneighbors(queries)
    )
    return indices.astype(np.int64), distances.astype(np.float32)
