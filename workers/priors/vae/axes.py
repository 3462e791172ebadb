"""Coordinates along the principal axes of a cloud, half-whitened: each axis divided by the root of its standard deviation.

Fully whitened, an autoencoder sees as much worth in the thinnest axis as in the widest; not at all, only the widest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.moments import Moments

_MIN_SHARE = 1e-10
"""Of the widest axis' variance: thinner axes are rounding."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """y = directionsᵀ·(x − mean) / scale; float64. directions: `[d, rank]`, orthonormal columns. scale: `[rank]`."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d rank"]
    scale: Float[Tensor, " rank"]

    @property
    def is_regular(self) -> bool:
        """Whether the cloud varies in every dimension, so that a density of y is one of x."""
        return self.directions.shape[0] == self.directions.shape[1]

    def to(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n rank"]:
        """x → y, float64, differentiable."""
        return (vectors.to(self.mean) - self.mean) @ self.directions / self.scale

    def back(self, y: Float[Tensor, "n rank"]) -> Float[Tensor, "n d"]:
        """y → x, float32."""
        return (self.mean + (y * self.scale) @ self.directions.T).float()

    def log_volume(self) -> float:
        """ln |dx/dy|: what a log-density of y is larger by than that of x."""
        return float(self.scale.log().sum())


def principal_axes(moments: Moments) -> Axes:
    """The half-whitened axes of a cloud; InvalidRequest if it is one point."""
    variances, directions = torch.linalg.eigh(moments.covariance)
    kept = variances > _MIN_SHARE * variances[-1]
    if float(variances[-1]) <= 0 or not bool(kept.any()):
        raise InvalidRequest("all points of the source are the same: no law fits.", loc=("prior", "fit"))
    return Axes(mean=moments.mean, directions=directions[:, kept], scale=variances[kept].pow(0.25))


def plain_axes(d: int) -> Axes:
    """y = x."""
    double = torch.float64
    return Axes(
        mean=torch.zeros(d, dtype=double), directions=torch.eye(d, dtype=double), scale=torch.ones(d, dtype=double)
    )
