"""Clouds with a known distribution, and checks that every prior passes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.priors.prior import Prior

Array = npt.NDArray[np.float64]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tilted_cloud(n: int, d: int, *, seed: int = 0) -> Tensor:
    """Normal points with a mean and correlated dimensions of different spread."""
    generator = seeded(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    mixing += torch.diag(torch.linspace(0.3, 1.5, d, dtype=torch.float64))
    mean = torch.linspace(-2, 2, d, dtype=torch.float64)
    points: Tensor = mean + torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing.T
    return points.float()


def moments_of(points: Tensor) -> tuple[Array, Array]:
    """Mean and covariance (1/N) by numpy."""
    array = points.double().numpy()
    return array.mean(0), np.cov(array, rowvar=False, bias=True)


def radii(points: Tensor, mean: Array, covariance: Array) -> Array:
    """Mahalanobis distances, by numpy."""
    centred = points.double().numpy() - mean
    squared: Array = np.einsum("ij,ij->i", centred @ np.linalg.inv(covariance), centred)
    return np.sqrt(squared)


def check_draws(prior: Prior, *, d: int) -> None:
    """What every prior promises of its draws."""
    many = prior.sample(23, generator=seeded(5))
    assert many.shape == (23, d)
    assert many.dtype == torch.float32
    assert many.device.type == "cpu"
    assert bool(many.isfinite().all())
    assert torch.equal(many, prior.sample(23, generator=seeded(5)))
    few = prior.sample(7, generator=seeded(5))
    assert torch.allclose(few, many[:7], rtol=1e-6, atol=1e-7), "fewer vectors are the first of more"
    assert prior.sample(0, generator=seeded(5)).shape == (0, d)


def gradient_error(prior: Prior, vectors: Tensor, *, step: float = 1e-5) -> float:
    """Largest relative difference between autograd's directional slopes of ``map_log_prob`` and central differences."""
    at = vectors.double().requires_grad_()
    (slopes,) = torch.autograd.grad(prior.map_log_prob(at).sum(), at)
    along = torch.randn(vectors.shape, generator=seeded(3), dtype=torch.float64)
    up, down = (prior.map_log_prob((at + sign * step * along).detach()) for sign in (1, -1))
    measured = (up - down) / (2 * step)
    expected = (slopes * along).sum(1)
    return float(((measured - expected).abs() / expected.abs().clamp(min=1.0)).max())
