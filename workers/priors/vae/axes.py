"""Half-whitened coordinates: along the principal axes of a cloud, each divided by the root of its standard deviation.

With full whitening, an autoencoder weighs the axis of the smallest variance like the one of the largest; without
whitening, it ignores all but the largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.moments import Moments

_MIN_SHARE = 1e-10
"""Share of the largest variance; smaller variances are rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """y = directionsᵀ·(x − mean) / scale; float64. directions: `[d, rank]`, orthonormal columns. scale: `[rank]`."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d rank"]
    scale: Float[Tensor, " rank"]

    @property
    def is_regular(self) -> bool:
        """Whether the cloud varies in every dimension, so that x has a density."""
        return self.directions.shape[0] == self.directions.shape[1]

    def to(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n rank"]:
        """x → y, float64, differentiable."""
        return (vectors.to(self.mean) - self.mean) @ self.directions / self.scale

    def back(self, y: Float[Tensor, "n rank"]) -> Float[Tensor, "n d"]:
        """y → x, float32."""
        return (self.mean + (y * self.scale) @ self.directions.T).float()

    def log_volume(self) -> float:
        """ln |dx/dy|: the log-density of y minus that of x."""
        return float(self.scale.log().sum())


def principal_axes(moments: Moments) -> Axes:
    """The half-whitened axes of a cloud; InvalidRequest if all points are the same."""
    variances, directions = torch.linalg.eigh(moments.covariance)
    kept = variances > _MIN_SHARE * variances[-1]
    if float(variances[-1]) <= 0 or not bool(kept.any()):
        raise InvalidRequest("all points of the source are the same: no distribution fits.", loc=("prior", "fit"))
    return Axes(mean=moments.mean, directions=directions[:, kept], scale=variances[kept].pow(0.25))


def plain_axes(d: int) -> Axes:
    """y = x."""
    double = torch.float64
    return Axes(
        mean=torch.zeros(d, dtype=double), directions=torch.eye(d, dtype=double), scale=torch.ones(d, dtype=double)
    )
