"""Distribution of an autoencoder's latent vectors, from which latents are sampled for decoding."""

from __future__ import annotations

import torch
from sklearn.mixture import GaussianMixture

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.normal import LOG_2PI
from workers.priors.distributions.random_streams import choices, normal_rows, split, uniforms

MAX_COMPONENTS = 64
MAX_FITTED = 10_000
"""Limit on the latent vectors that EM is fitted to, which bounds its time."""

_POINTS_A_PARAMETER_ROW = 4
_RIDGE = 1e-3


class LatentDistribution:
    """A mixture of normal distributions with full covariances; N(0, I) is a mixture of one component.

    Args:
        weights `[k]`, means `[k, d]`, lower Cholesky factors `[k, d, d]`; float64.
    """

    def __init__(
        self, weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], factors: Float[Tensor, "k d d"]
    ) -> None:
        self._weights = weights
        self._means = means
        self._factors = factors

    @classmethod
    def standard(cls, d: int) -> LatentDistribution:
        """N(0, I)."""
        double = torch.float64
        return cls(torch.ones(1, dtype=double), torch.zeros(1, d, dtype=double), torch.eye(d, dtype=double)[None])

    @classmethod
    def fit(cls, latents: Float[Tensor, "n d"], *, generator: torch.Generator) -> LatentDistribution:
        """Fit by EM to latent vectors that were sampled from the encoder."""
        n, d = latents.shape
        if n > MAX_FITTED:
            latents = latents[torch.randperm(n, generator=generator)[:MAX_FITTED]]
        n_components = min(max(len(latents) // (_POINTS_A_PARAMETER_ROW * d), 1), MAX_COMPONENTS)
        seed = int(choices(1, below=2**31, generator=generator))
        model = GaussianMixture(n_components, covariance_type="full", reg_covar=_RIDGE, random_state=seed)
        model.fit(latents.double().numpy())
        factors = torch.linalg.cholesky(torch.from_numpy(model.covariances_))
        return cls(torch.from_numpy(model.weights_), torch.from_numpy(model.means_), factors)

    @property
    def n_components(self) -> int:
        return len(self._weights)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """``n`` latent vectors, float64."""
        for_components, for_noise = split(generator, 2)
        shares = self._weights.cumsum(0)
        chosen = torch.searchsorted(shares, uniforms(n, generator=for_components) * shares[-1], right=True)
        noise = normal_rows(n, self._means.shape[1], generator=for_noise)
        drawn = torch.empty_like(noise)
        for component, (mean, factor) in enumerate(zip(self._means, self._factors, strict=True)):
            rows = chosen == component
            drawn[rows] = mean + noise[rows] @ factor.T
        return drawn

    def log_density(self, latents: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """Nats of float64 latents, differentiable."""
        parts = [
            weight.log() + _log_normal(latents - mean, factor)
            for weight, mean, factor in zip(self._weights, self._means, self._factors, strict=True)
        ]
        return torch.logsumexp(torch.stack(parts), dim=0)


def _log_normal(centred: Tensor, factor: Tensor) -> Tensor:
    """Log-density of N(0, factor·factorᵀ) in the last dimension."""
    rows = centred.flatten(0, -2)
    white = torch.linalg.solve_triangular(factor, rows.T, upper=False)
    log_density: Tensor = -0.5 * (white.square().sum(0) + len(factor) * LOG_2PI) - factor.diagonal().log().sum()
    return log_density.view(centred.shape[:-1])
