"""The ``posterior`` prior: a distribution fitted to the vectors of tuned prompts."""

from __future__ import annotations

import torch
from promptatlas.types.priors import PosteriorPrior

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.mixture import Mixture, fit_mixture
from workers.priors.distributions.moments import Moments, measure, regularise
from workers.priors.distributions.normal import Normal, fit_normal
from workers.priors.kinds.prompt import vectors_at
from workers.priors.prior import Facts, Prior, Space
from workers.priors.sources.sources import Sources

MAX_COMPONENTS = 16
"""Default limit on the components of a mixture, which has one per prompt."""


class Posterior(Prior):
    """A normal distribution, or a mixture of them."""

    name = "posterior"

    def __init__(self, distribution: Normal | Mixture, *, facts: Facts) -> None:
        self._distribution = distribution
        self.facts = facts

    @classmethod
    def fit(cls, spec: PosteriorPrior, *, space: Space, sources: Sources) -> Posterior:
        found = [vectors_at(member, ref=ref, space=space) for ref in spec.prompts for member in sources.members(ref)]
        points = torch.cat(found)
        moments = measure(points)
        if spec.fit == "gaussian":
            normal, facts = fit_normal(moments, shrinkage=spec.shrinkage)
            return cls(normal, facts=facts)
        n_components = spec.components or min(len(found), MAX_COMPONENTS)
        mixture, facts = _mixture(points, moments, n_components=n_components, spec=spec)
        return cls(mixture, facts=facts)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        return self._distribution.sample(n, generator=generator)

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        if isinstance(self._distribution, Mixture):
            return self._distribution.log_density(vectors)
        if not self._distribution.is_regular:
            self._refuse_density(
                f"its covariance has rank {self._distribution.rank} of {self._distribution.d}; choose another shrinkage"
            )
        return self._distribution.log_density(self._distribution.squared_distance(vectors))


def _mixture(
    points: Tensor, moments: Moments, *, n_components: int, spec: PosteriorPrior
) -> tuple[Mixture, dict[str, float | str]]:
    if moments.n_distinct < n_components:
        raise InvalidRequest(
            f"{n_components} components need at least as many different vectors; the prompts have {moments.n_distinct}.",
            loc=("prior", "components"),
        )
    if float(moments.covariance.trace()) <= 0:
        raise InvalidRequest("all vectors of the prompts are the same: no distribution fits.", loc=("prior", "prompts"))
    regular = regularise(moments, shrinkage=spec.shrinkage)
    mixture = fit_mixture(points, covariance=moments.covariance, n_components=n_components, shrinkage=regular.weight)
    return mixture, {
        "n_points": float(moments.n),
        "n_distinct": float(moments.n_distinct),
        "shrinkage": regular.weight,
        "shrinkage_method": regular.method,
        "n_components": float(n_components),
        "largest_component": float(mixture.log_weights.exp().max()),
    }
