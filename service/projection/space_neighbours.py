"""Exact nearest neighbours of a map's point in the original space, from the vectors that the map's run stored.

Works without scikit-learn, which the API process does not load. The vectors of the last layer are kept in memory, because a
user looks at one point after another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from promptatlas.types.maps import NeighborMetric

from service.errors import InvalidRequest
from service.projection.arrays import Doubles, Floats
from service.store.maps.store import MapStore, StoredMap

MAX_NEIGHBORS = 100

_BLOCK = 8192


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """indices: int64 `[k]` among the points of the layer, nearest first; of equal distances the lower index is first.

    distances: float64 `[k]`.
    """

    indices: npt.NDArray[np.int64]
    distances: Doubles


class SpaceNeighbours:
    """Neighbours of the points of stored maps; thread-safe."""

    def __init__(self, maps: MapStore) -> None:
        self._maps = maps
        self._lock = threading.Lock()
        self._key: tuple[str, int] | None = None
        self._vectors: Floats = np.zeros((0, 0), np.float32)

    def find(self, found: StoredMap, *, layer: int, point: int, k: int, metric: NeighborMetric) -> Neighbours:
        """The ``k`` nearest other points of ``point``; fewer if the layer has fewer.

        Raises:
            InvalidRequest: the layer has no such point.
            NotFound: the map has no vectors of this layer.
            DamagedArtifact: the stored vectors are damaged.
        """
        vectors = self._of_layer(found, layer)
        if not 0 <= point < len(vectors):
            raise InvalidRequest(
                f"Expected a point of layer {layer}, 0 to {len(vectors) - 1}, got {point}.", loc=("query", "point")
            )
        return nearest_to(vectors, point, k=k, metric=metric)

    def _of_layer(self, found: StoredMap, layer: int) -> Floats:
        key = (found.id, layer)
        with self._lock:
            if self._key == key:
                return self._vectors
        vectors = self._maps.vectors(found, layer=layer)
        with self._lock:
            self._key, self._vectors = key, vectors
        return vectors


def nearest_to(vectors: Floats, point: int, *, k: int, metric: NeighborMetric) -> Neighbours:
    """The ``k`` rows of ``vectors`` `[n, d]` nearest to row ``point``, without it; computed in float64.

    metric: ``euclidean``, or ``cosine``: 1 − cosine similarity, which is 1 for a zero vector.
    """
    query = vectors[point].astype(np.float64)
    measure = _cosine if metric == "cosine" else _euclidean
    distances = np.concatenate([measure(block, query) for block in _blocks(vectors)])
    order = np.argsort(distances, kind="stable")
    chosen = order[order != point][:k]
    return Neighbours(indices=chosen.astype(np.int64), distances=distances[chosen])


def _blocks(vectors: Floats) -> Iterator[Doubles]:
    for start in range(0, len(vectors), _BLOCK):
        yield vectors[start : start + _BLOCK].astype(np.float64)


def _euclidean(block: Doubles, query: Doubles) -> Doubles:
    difference = block - query
    distances: Doubles = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances


def _cosine(block: Doubles, query: Doubles) -> Doubles:
    lengths = np.linalg.norm(block, axis=1) * np.linalg.norm(query)
    similarity = np.divide(block @ query, lengths, out=np.zeros(len(block)), where=lengths > 0)
    distances: Doubles = np.clip(1 - similarity, 0, 2)
    return distances
