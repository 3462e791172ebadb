"""Mahalanobis distance from a cloud (Mahalanobis 1936)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, solve_triangular
from sklearn.covariance import LedoitWolf

from service.measures.arrays import Floats, as_points, require_same_width

# With fewer points per dimension, the smallest eigenvalues of a sample covariance are mostly noise.
POINTS_PER_DIMENSION = 10


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Mean `[d]` and lower Cholesky factor `[d, d]` of the covariance. shrinkage: weight of the scaled identity in it."""

    mean: Floats
    factor: Floats
    shrinkage: float

    def distances(self, vectors: npt.ArrayLike) -> Floats:
        """sqrt((x − mean)ᵀ Σ⁻¹ (x − mean)) of each vector, `[n]`; about sqrt(d) for points of the cloud."""
        points = as_points(vectors, name="vectors")
        require_same_width(vectors=points, cloud=self.mean[None])
        whitened = solve_triangular(self.factor, (points - self.mean).T, lower=True)
        distances: Floats = np.sqrt(np.square(whitened).sum(0))
        return distances


def fit_cloud(points: npt.ArrayLike) -> Cloud:
    """Fit mean and covariance (1/N), with Ledoit–Wolf (2004) shrinkage if there are few points per dimension.

    Raises:
        ValueError: The covariance is singular.
    """
    given = as_points(points, name="points", at_least=2)
    if len(given) >= POINTS_PER_DIMENSION * given.shape[1]:
        covariance, shrinkage = np.cov(given, rowvar=False, bias=True).reshape(given.shape[1], -1), 0.0
    else:
        fitted = LedoitWolf(store_precision=False).fit(given)
        covariance, shrinkage = fitted.covariance_, float(fitted.shrinkage_)
    try:
        factor = cho_factor(covariance, lower=True)[0]
    except np.linalg.LinAlgError:
        raise ValueError("the covariance of the cloud is singular: no Mahalanobis distance") from None
    return Cloud(mean=given.mean(0), factor=np.tril(factor), shrinkage=shrinkage)
