"""The ``isotropic`` prior: N(0, std² I)."""

from __future__ import annotations

import math

import torch
from promptatlas.types.priors import IsotropicPrior

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.normal import LOG_2PI
from workers.priors.distributions.random_streams import normal_rows
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources


class Isotropic(Prior):
    """N(0, std² I) in ``d`` dimensions."""

    name = "isotropic"

    def __init__(self, *, std: float, d: int) -> None:
        self._std = std
        self._d = d
        self.facts = {"std": std}

    @classmethod
    def fit(cls, spec: IsotropicPrior, *, space: Space, sources: Sources) -> Isotropic:
        return cls(std=spec.std, d=space.d_model)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        return (self._std * normal_rows(n, self._d, generator=generator)).float()

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        squared = (vectors.double() / self._std).square().sum(1)
        return -0.5 * (squared + self._d * (LOG_2PI + 2 * math.log(self._std)))
