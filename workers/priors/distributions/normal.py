"""The normal distribution N(mean, covariance) in float64, also with a singular covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from promptatlas.types.priors import Shrinkage

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.chunks import chunks
from workers.priors.distributions.moments import Moments, regularise
from workers.priors.distributions.random_streams import normal_rows
from workers.priors.prior import Facts

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Normal:
    """N(mean, F·Fᵀ).

    mean: `[d]`. factor: F `[d, rank]`; the Cholesky factor if the covariance is regular (``is_regular``), otherwise the
    eigenvectors times the roots of their eigenvalues, which span the support. log_det: ln det of the covariance on the
    support.
    """

    mean: Float[Tensor, " d"]
    factor: Float[Tensor, "d rank"]
    log_det: float
    is_regular: bool

    @property
    def d(self) -> int:
        return len(self.mean)

    @property
    def rank(self) -> int:
        return int(self.factor.shape[1])

    def scaled(self, scale: float) -> Normal:
        """N(mean, scale·covariance)."""
        factor = self.factor * math.sqrt(scale)
        log_det = self.log_det + self.rank * math.log(scale)
        return Normal(mean=self.mean, factor=factor, log_det=log_det, is_regular=self.is_regular)

    def colour(self, white: Float[Tensor, "n rank"]) -> Float[Tensor, "n d"]:
        """mean + F·z for each row z, float32. Computed in chunks, which bounds intermediate results."""
        coloured = torch.empty(len(white), self.d)
        for chunk in chunks(len(white)):
            coloured[chunk] = self.mean + white[chunk] @ self.factor.T
        return coloured

    def whiten(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n rank"]:
        """The z of each vector (of its projection on the support), float64, differentiable."""
        centred = vectors.to(self.mean) - self.mean
        if self.is_regular:
            white: Tensor = torch.linalg.solve_triangular(self.factor, centred.T, upper=False).T
            return white
        return centred @ (self.factor / self.factor.square().sum(0))

    def squared_distance(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Squared Mahalanobis distance from the mean."""
        return self.whiten(vectors).square().sum(1)

    def log_density(self, squared_distance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Nats at a squared Mahalanobis distance."""
        return -0.5 * (squared_distance + self.log_det + self.rank * LOG_2PI)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """``n`` draws, float32."""
        return self.colour(normal_rows(n, self.rank, generator=generator))


def make_normal(mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]) -> Normal:
    """The normal distribution of a mean and a covariance, float64.

    Raises:
        InvalidRequest: the covariance is zero or not finite.
    """
    if not bool(covariance.isfinite().all()) or float(covariance.diagonal().max()) <= 0:
        raise InvalidRequest(
            "all points of the source are the same, or not finite: no distribution fits.", loc=("prior", "fit")
        )
    lower, failed = torch.linalg.cholesky_ex(covariance)
    pivots = lower.diagonal().square()
    # Rounding can leave tiny pivots in the factor of a singular matrix, and these would dominate the density.
    floor = len(mean) * torch.finfo(torch.float64).eps
    if int(failed) == 0 and bool((pivots > floor * covariance.diagonal()).all()):
        log_det = float(lower.diagonal().log().sum()) * 2
        return Normal(mean=mean, factor=lower, log_det=log_det, is_regular=True)
    values, directions = torch.linalg.eigh(covariance)
    kept = values > floor * values[-1]
    factor = directions[:, kept] * values[kept].sqrt()
    return Normal(mean=mean, factor=factor, log_det=float(values[kept].log().sum()), is_regular=False)


def fit_normal(moments: Moments, *, shrinkage: Shrinkage) -> tuple[Normal, Facts]:
    """The normal distribution of a cloud, and facts about the fit; ``auto`` also shrinks a covariance that is singular."""
    regular = regularise(moments, shrinkage=shrinkage)
    normal = make_normal(moments.mean, regular.covariance)
    if not normal.is_regular and shrinkage == "auto" and regular.method == "none":
        regular = regularise(moments, shrinkage="ledoit-wolf")
        normal = make_normal(moments.mean, regular.covariance)
    return normal, {
        "n_points": float(moments.n),
        "n_distinct": float(moments.n_distinct),
        "shrinkage": regular.weight,
        "shrinkage_method": regular.method,
        "rank": float(normal.rank),
    }
