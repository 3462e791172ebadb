"""A mixture of normal distributions with diagonal covariances along the principal axes of a cloud."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.mixture import GaussianMixture

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.normal import LOG_2PI
from workers.priors.distributions.random_streams import normal_rows, split, uniforms

MIN_RIDGE = 1e-6
"""Smallest ridge, as a share of the mean variance. Without it, a component of two points has zero variance across their line."""

_N_STARTS = 4


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Σ weight·N(mean, axesᵀ·diag(variance)·axes), float64.

    axes: orthogonal `[d, d]`, one axis per row. log_weights `[k]`; means and variances `[k, d]`, along the axes.
    """

    axes: Float[Tensor, "d d"]
    log_weights: Float[Tensor, " k"]
    means: Float[Tensor, "k d"]
    variances: Float[Tensor, "k d"]

    def log_density(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Nats at each vector, float64, differentiable."""
        along = vectors.to(self.axes) @ self.axes.T
        each = torch.stack(
            [
                log_weight - 0.5 * ((along - mean).square() / variance + variance.log() + LOG_2PI).sum(1)
                for log_weight, mean, variance in zip(self.log_weights, self.means, self.variances, strict=True)
            ],
            dim=1,
        )
        return torch.logsumexp(each, dim=1)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """``n`` draws, float32."""
        for_components, for_noise = split(generator, 2)
        shares = self.log_weights.exp().cumsum(0)
        chosen = torch.searchsorted(shares, uniforms(n, generator=for_components) * shares[-1], right=True)
        along = normal_rows(n, len(self.axes), generator=for_noise) * self.variances[chosen].sqrt() + self.means[chosen]
        return (along @ self.axes).float()


def fit_mixture(
    points: Float[Tensor, "n d"], *, covariance: Float[Tensor, "d d"], n_components: int, shrinkage: float
) -> Mixture:
    """Fit by scikit-learn's EM along the principal axes; the best of several k-means initialisations.

    Args:
        covariance: of the points; its eigenvectors are the axes.
        shrinkage: share of the mean variance that is added to every variance.
    """
    _, directions = torch.linalg.eigh(covariance)
    axes = directions.T.contiguous()
    mean_variance = float(covariance.diagonal().mean())
    model = GaussianMixture(
        n_components,
        covariance_type="diag",
        reg_covar=max(shrinkage, MIN_RIDGE) * mean_variance,
        n_init=_N_STARTS,
        random_state=0,
        max_iter=500,
    ).fit((points.double() @ axes.T).numpy())
    return Mixture(
        axes=axes,
        log_weights=torch.from_numpy(model.weights_).log(),
        means=torch.from_numpy(model.means_),
        variances=torch.from_numpy(model.covariances_),
    )
