"""The ``knn`` prior: of candidates around a cloud, the one that is farthest from its k-th nearest neighbour in the cloud."""

from __future__ import annotations

from collections.abc import Callable

import torch
from promptatlas.types.priors import KnnPrior
from sklearn.neighbors import NearestNeighbors

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.chunks import chunks
from workers.priors.distributions.moments import distinct_rows, measure, no_check
from workers.priors.distributions.normal import Normal, fit_normal
from workers.priors.distributions.random_streams import choices, normal_rows, split
from workers.priors.prior import Facts, Prior, Space
from workers.priors.sources.sources import Sources

_CANDIDATES_A_BATCH = 4096


class Knn(Prior):
    """Each vector is the candidate in the region of lowest density. A candidate is a point of the cloud plus a normal step
    with spread² times the covariance of the cloud.

    Args:
        points: distinct points of the cloud.
        step: N(·, covariance of the cloud); only its factor is used.
        check: called between batches of candidates; raises to stop.
    """

    name = "knn"

    def __init__(
        self,
        points: Float[Tensor, "n d"],
        *,
        step: Normal,
        k: int,
        candidates: int,
        spread: float,
        facts: Facts,
        check: Callable[[], None] = no_check,
    ) -> None:
        self._points = points
        self._step = step.scaled(spread**2)
        self._candidates = candidates
        self._neighbours = NearestNeighbors(n_neighbors=k).fit(points.numpy())
        self._check = check
        self.facts = {**facts, "k": float(k), "median_own_distance": self._own_distance(k)}

    @classmethod
    def fit(cls, spec: KnnPrior, *, space: Space, sources: Sources) -> Knn:
        points = sources.points(spec.fit, layer=space.layer)
        normal, facts = fit_normal(measure(points, check=sources.check), shrinkage="auto")
        distinct = points[distinct_rows(points)]
        if len(distinct) <= spec.k:
            raise InvalidRequest(
                f"the source has {len(distinct)} different points; k = {spec.k} needs more.",
                loc=("prior", "k"),
            )
        return cls(
            distinct,
            step=normal,
            k=spec.k,
            candidates=spec.candidates,
            spread=spec.spread,
            facts=facts,
            check=sources.check,
        )

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        for_centers, for_steps = split(generator, 2)
        centers = choices(n * self._candidates, below=len(self._points), generator=for_centers).view(
            n, self._candidates
        )
        chosen = torch.empty(n, self._points.shape[1])
        for chunk in chunks(n, size=max(_CANDIDATES_A_BATCH // self._candidates, 1)):
            self._check()
            at = centers[chunk]
            steps = normal_rows(at.numel(), self._step.rank, generator=for_steps) @ self._step.factor.T
            candidates = (self._points[at.flatten()] + steps).float()
            farthest = self.distances(candidates).reshape(at.shape).argmax(1)
            chosen[chunk] = candidates.reshape(*at.shape, -1)[torch.arange(len(at)), farthest]
        return chosen

    def distances(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Euclidean distance of each vector to its k-th nearest distinct point of the cloud."""
        found, _ = self._neighbours.kneighbors(vectors.numpy())
        return torch.from_numpy(found[:, -1])

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        self._refuse_density("a choice among candidates has no density in closed form")

    def _own_distance(self, k: int) -> float:
        """Median distance of the cloud's points to their k-th nearest neighbour; a point is not its own neighbour."""
        sampled = self._points[:: max(len(self._points) // 1000, 1)]
        found, _ = self._neighbours.kneighbors(sampled.numpy(), n_neighbors=min(k + 1, len(self._points)))
        return float(torch.from_numpy(found[:, -1]).median())
