"""t-SNE (van der Maaten and Hinton 2008) by openTSNE (Poličar et al. 2024), stored as tensors.

openTSNE projects new points with a fitted object. Here that object is rebuilt from the stored tensors, with an exact search
for the neighbours of the new points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from service.projection.arrays import Floats, as_vectors
from service.projection.neighbours import nearest
from service.projection.pca import PcaBasis

# The default of openTSNE's transform(), independent of the perplexity of the map.
PLACING_PERPLEXITY = 5.0


@dataclass(frozen=True, kw_only=True)
class TsneBasis:
    """reduction: the preceding PCA. points `[n, n_pca]`: reduced points of the fit. embedding `[n, 2]`: their coordinates."""

    reduction: PcaBasis
    points: Floats
    embedding: npt.NDArray[np.float64]
    metric: str
    seed: int

    method: ClassVar[str] = "tsne"
    n_components: ClassVar[int] = 2

    @property
    def d_model(self) -> int:
        """Number of dimensions of the input."""
        return self.reduction.d_model

    def place(self, vectors: npt.NDArray[Any]) -> Floats:
        """Coordinates `[n, 2]` of new points, independent of each other; fitted points do not move."""
        reduced = self.reduction.place(as_vectors(vectors, d=self.d_model))
        if not len(reduced):
            return np.zeros((0, self.n_components), np.float32)
        from openTSNE import TSNEEmbedding

        neighbours = _Neighbours(self.points, metric=self.metric)
        reference = TSNEEmbedding(self.embedding.copy(), neighbours, random_state=self.seed)
        placed = reference.transform(reduced, perplexity=min(PLACING_PERPLEXITY, neighbours.largest_perplexity))
        return np.asarray(placed, dtype=np.float32)

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays for ``from_tensors``."""
        return {**self.reduction.tensors(), "points": self.points, "embedding": self.embedding}

    def facts(self) -> Mapping[str, Any]:
        """JSON values for ``from_tensors``."""
        own = {"metric": self.metric, "seed": self.seed}
        return {**own, "method": self.method, "reduction": dict(self.reduction.facts())}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], *, facts: Mapping[str, Any]) -> TsneBasis:
        """The inverse of ``tensors`` and ``facts``."""
        return cls(
            reduction=PcaBasis.from_tensors(tensors, facts=facts["reduction"]),
            points=np.asarray(tensors["points"], dtype=np.float32),
            embedding=np.array(tensors["embedding"], dtype=np.float64),
            metric=facts["metric"],
            seed=facts["seed"],
        )


class _Neighbours:
    """The part of openTSNE's affinities that ``transform`` needs."""

    def __init__(self, points: Floats, *, metric: str) -> None:
        self._points = points
        self._metric = metric
        # Affinities among the fitted points would only be needed to move them.
        self.P = csr_matrix((len(points), len(points)))

    @property
    def largest_perplexity(self) -> float:
        return max(1.0, (len(self._points) - 1) / 3)

    def to_new(
        self,
        data: Floats,
        perplexity: float = PLACING_PERPLEXITY,
        return_distances: bool = False,
        k_neighbors: object = "auto",
    ) -> Any:
        from openTSNE.affinity import joint_probabilities_nn

        k = min(len(self._points), int(3 * perplexity))
        neighbours, distances = nearest(data, self._points, k=k, metric=self._metric)
        affinities = joint_probabilities_nn(
            neighbours,
            distances,
            [perplexity],
            symmetrize=False,
            normalization="point-wise",
            n_reference_samples=len(self._points),
            n_jobs=1,
        )
        return (affinities, neighbours, distances) if return_distances else affinities


def fit_tsne(vectors: npt.NDArray[Any], *, reduction: PcaBasis, perplexity: float, metric: str, seed: int) -> TsneBasis:
    """Fit the points reduced by ``reduction``; deterministic for a seed."""
    from openTSNE import TSNE

    points = reduction.place(vectors)
    fitted = TSNE(
        n_components=2,
        perplexity=min(perplexity, max(1.0, (len(points) - 1) / 3)),
        metric=metric,
        initialization="pca",
        random_state=seed,
        n_jobs=1,
    ).fit(points)
    embedding = np.array(fitted, dtype=np.float64)
    # transform() centres the embedding first; an embedding that is centred already does not move.
    embedding -= (embedding.max(0) + embedding.min(0)) / 2
    return TsneBasis(reduction=reduction, points=points, embedding=embedding, metric=metric, seed=seed)
