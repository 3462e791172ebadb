"""UMAP (McInnes et al. 2018) by umap-learn, stored as tensors.

umap-learn projects new points with a fitted object, which can only be stored by pickle. Here the same steps (neighbours,
membership strengths, weighted initialization, layout with fixed fitted points) run on the stored tensors, with exact instead
of approximate neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix

from service.projection.arrays import Floats, as_vectors
from service.projection.neighbours import nearest
from service.projection.pca import PcaBasis

# The constants of umap-learn's transform().
N_EPOCHS_FEW, N_EPOCHS_MANY, MANY = 100, 30, 10_000
REPULSION, NEGATIVE_SAMPLES, INITIAL_ALPHA = 1.0, 5.0, 1.0


@dataclass(frozen=True, kw_only=True)
class UmapBasis:
    """reduction: the preceding PCA. points `[n, n_pca]`: reduced points of the fit. embedding `[n, k]`: their coordinates.

    a, b: parameters of the low-dimensional membership strength 1 / (1 + a·x^(2b)).
    """

    reduction: PcaBasis
    points: Floats
    embedding: Floats
    a: float
    b: float
    n_neighbors: int
    metric: str
    seed: int

    method: ClassVar[str] = "umap"

    @property
    def d_model(self) -> int:
        """Number of dimensions of the input."""
        return self.reduction.d_model

    @property
    def n_components(self) -> int:
        """Number of dimensions of the map."""
        return int(self.embedding.shape[1])

    def place(self, vectors: npt.NDArray[Any]) -> Floats:
        """Coordinates `[n, k]` of new points, deterministic; fitted points do not move."""
        reduced = self.reduction.place(as_vectors(vectors, d=self.d_model))
        if not len(reduced):
            return np.zeros((0, self.n_components), np.float32)
        import umap.umap_ as umap  # numba takes seconds to load

        k = min(self.n_neighbors, len(self.points))
        indices, distances = nearest(reduced, self.points, k=k, metric=self.metric)
        sigmas, rhos = umap.smooth_knn_dist(distances, float(k), local_connectivity=0.0)
        rows, columns, strengths, _ = umap.compute_membership_strengths(
            indices.astype(np.int32), distances, sigmas, rhos, bipartite=True
        )
        shape = (len(reduced), len(self.points))
        graph = coo_matrix((strengths, (rows, columns)), shape=shape)
        kept = graph.tocsr()
        kept.eliminate_zeros()
        start = umap.init_graph_transform(kept, self.embedding)
        return self._optimize(graph, start)

    def _optimize(self, graph: Any, start: Floats) -> Floats:
        import umap.umap_ as umap
        from umap.layouts import optimize_layout_euclidean

        n_epochs = N_EPOCHS_FEW if graph.shape[0] <= MANY else N_EPOCHS_MANY
        graph.data[graph.data < graph.data.max() / n_epochs] = 0.0
        graph.eliminate_zeros()
        limits = np.iinfo(np.int32)
        state = np.random.RandomState(self.seed).randint(limits.min + 1, limits.max - 1, 3).astype(np.int64)
        placed: Floats = optimize_layout_euclidean(
            start,
            self.embedding.copy(),
            graph.row,
            graph.col,
            n_epochs,
            graph.shape[1],
            umap.make_epochs_per_sample(graph.data, n_epochs),
            self.a,
            self.b,
            state,
            REPULSION,
            INITIAL_ALPHA / 4.0,
            NEGATIVE_SAMPLES,
            move_other=False,
        )
        return placed

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays for ``from_tensors``."""
        return {**self.reduction.tensors(), "points": self.points, "embedding": self.embedding}

    def facts(self) -> Mapping[str, Any]:
        """JSON values for ``from_tensors``."""
        own = {name: getattr(self, name) for name in ("a", "b", "n_neighbors", "metric", "seed")}
        return {**own, "method": self.method, "reduction": dict(self.reduction.facts())}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], *, facts: Mapping[str, Any]) -> UmapBasis:
        """The inverse of ``tensors`` and ``facts``."""
        own = {name: facts[name] for name in ("a", "b", "n_neighbors", "metric", "seed")}
        return cls(
            reduction=PcaBasis.from_tensors(tensors, facts=facts["reduction"]),
            points=np.asarray(tensors["points"], dtype=np.float32),
            embedding=np.array(tensors["embedding"], dtype=np.float32),
            **own,
        )


def fit_umap(
    vectors: npt.NDArray[Any],
    *,
    reduction: PcaBasis,
    n_components: int,
    n_neighbors: int,
    min_dist: float,
    metric: str,
    seed: int,
) -> UmapBasis:
    """Fit the points reduced by ``reduction``; deterministic for a seed."""
    import umap

    points = reduction.place(vectors)
    # A single thread: with several, the result depends on their timing.
    fitted = umap.UMAP(
        n_components=n_components,
        n_neighbors=min(n_neighbors, len(points) - 1),
        min_dist=min_dist,
        metric=metric,
        random_state=seed,
        n_jobs=1,
    ).fit(points)
    return UmapBasis(
        reduction=reduction,
        points=points,
        embedding=np.asarray(fitted.embedding_, dtype=np.float32),
        a=float(fitted._a),
        b=float(fitted._b),
        n_neighbors=int(fitted._n_neighbors),
        metric=metric,
        seed=seed,
    )
