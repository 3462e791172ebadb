"""The ``interpolation`` prior: a·x + (1−a)·y, with x from one prior, y from another, and a uniform in [0, 1] per pair."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.random_streams import split, uniforms
from workers.priors.prior import Facts, Prior


class Interpolation(Prior):
    """Combines two fitted priors. Each has its own random stream, so changing one does not change the other's draws."""

    name = "interpolation"

    def __init__(self, *, from_: Prior, to: Prior) -> None:
        self._ends = (from_, to)
        self.facts = {**_prefixed("from", from_.facts), **_prefixed("to", to.facts)}

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        for_x, for_y, for_a = split(generator, 3)
        x = self._ends[0].sample(n, generator=for_x)
        y = self._ends[1].sample(n, generator=for_y)
        return torch.lerp(y, x, uniforms(n, generator=for_a).float()[:, None])

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        self._refuse_density("the density between two priors has no closed form")


def _prefixed(end: str, facts: Facts) -> Mapping[str, float | str]:
    return {f"{end}_{name}": value for name, value in facts.items()}
