"""Whether a prior's samples fill what the data fill: the measures by which a collapsed one is told from a sound one."""

from __future__ import annotations

from service.engine.shapes import Float, Tensor
from service.measures.spread import effective_rank as effective_rank_of


def effective_rank(points: Float[Tensor, "n d"]) -> float:
    """How many directions a cloud fills around its mean: exp of the entropy of its singular values (Roy and Vetterli, 2007)."""
    return effective_rank_of(points.numpy(), center=True)


def variance_ratios(samples: Float[Tensor, "n d"], *, data: Float[Tensor, "m d"]) -> Float[Tensor, " kept"]:
    """Variance of the samples over that of the data, for every dimension in which the data vary."""
    of_data = data.double().var(0, correction=0)
    varying = of_data > 0
    return samples.double().var(0, correction=0)[varying] / of_data[varying]
