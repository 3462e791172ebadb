"""The ``xavier`` prior: uniform within ±sqrt(6 / (n_virtual + d)) (Glorot and Bengio, 2010, for `[n_virtual, d]`)."""

from __future__ import annotations

import math

import torch
from promptatlas.types.priors import XavierPrior

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.random_streams import uniforms
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources


class Xavier(Prior):
    """Uniform in the cube of half-width ``bound`` around zero."""

    name = "xavier"

    def __init__(self, *, bound: float, d: int) -> None:
        self._bound = bound
        self._d = d
        self.facts = {"bound": bound, "std": bound / math.sqrt(3)}

    @classmethod
    def fit(cls, spec: XavierPrior, *, space: Space, sources: Sources) -> Xavier:
        return cls(bound=math.sqrt(6 / (space.n_virtual + space.d_model)), d=space.d_model)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        uniform = uniforms(n * self._d, generator=generator).reshape(n, self._d)
        return ((2 * uniform - 1) * self._bound).float()

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        wide = vectors.double()
        inside = -self._d * math.log(2 * self._bound)
        # float32 may round a draw up to the bound itself.
        within = (wide.abs() <= float(torch.tensor(self._bound))).all(1)
        return torch.where(within, inside, -torch.inf) + 0.0 * wide.sum(1)

    def map_log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        self._refuse_density("a uniform density is flat and pulls nowhere")
