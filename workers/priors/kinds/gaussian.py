"""The ``gaussian`` prior: N(mu, scale·Sigma) with a source's mean and covariance (1/N)."""

from __future__ import annotations

import torch
from promptatlas.types.priors import GaussianPrior

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import Normal, fit_normal
from workers.priors.prior import Facts, Prior, Space
from workers.priors.sources.sources import Sources


class Gaussian(Prior):
    """A normal distribution. With a singular covariance it can be sampled, but has no density."""

    name = "gaussian"

    def __init__(self, normal: Normal, *, facts: Facts) -> None:
        self._normal = normal
        self.facts = facts

    @classmethod
    def fit(cls, spec: GaussianPrior, *, space: Space, sources: Sources) -> Gaussian:
        moments = measure(sources.points(spec.fit, layer=space.layer), check=sources.check)
        normal, facts = fit_normal(moments, shrinkage=spec.shrinkage)
        return cls(normal.scaled(spec.scale), facts=facts)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        return self._normal.sample(n, generator=generator)

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        if not self._normal.is_regular:
            self._refuse_density(
                f"its covariance has rank {self._normal.rank} of {self._normal.d}; choose a shrinkage other than none"
            )
        return self._normal.log_density(self._normal.squared_distance(vectors))
