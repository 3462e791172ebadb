"""Spread of a prior's samples compared with the data, which shows whether a model has collapsed."""

from __future__ import annotations

from service.engine.shapes import Float, Tensor
from service.measures.spread import effective_rank as effective_rank_of


def effective_rank(points: Float[Tensor, "n d"]) -> float:
    """Effective rank of a centred cloud: exp of the entropy of its singular values (Roy and Vetterli, 2007)."""
    return effective_rank_of(points.numpy(), center=True)


def variance_ratios(samples: Float[Tensor, "n d"], *, data: Float[Tensor, "m d"]) -> Float[Tensor, " kept"]:
    """Variance of the samples divided by that of the data, for every dimension in which the data vary."""
    of_data = data.double().var(0, correction=0)
    varying = of_data > 0
    return samples.double().var(0, correction=0)[varying] / of_data[varying]
