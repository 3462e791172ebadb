"""The Laplace approximation of a quadratic loss, whose posterior is normal: covariance and draws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from service.errors import InvalidRequest
from service.store.prompts.normal import drawn
from workers.tuning.posterior.laplace import LowRankNormal, fit_laplace

D, RANK, STD = 12, 3, 0.7


def curvature() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    directions = torch.linalg.qr(torch.randn(D, RANK, generator=generator, dtype=torch.float64)).Q
    found: Tensor = directions @ torch.diag(torch.tensor([40.0, 9.0, 3.0]).double()) @ directions.T
    return found


def fitted(rank: int = RANK) -> LowRankNormal:
    hessian, mode = curvature(), torch.linspace(-1, 1, D)
    return fit_laplace(
        mode,
        loss=lambda points: ((points.double() - mode.double()) @ hessian).float(),
        log_prior=lambda points: -points / STD**2,
        sizes={"deep.0": 5, "deep.1": 7},
        rank=rank,
        generator=torch.Generator().manual_seed(0),
    )


def test_the_covariance_is_exact_for_a_quadratic_loss_of_low_rank() -> None:
    expected = torch.linalg.inv(torch.eye(D).double() / STD**2 + curvature())
    found = fitted()
    shrunk = found.curvatures / (1 + found.curvatures)
    covariance = (
        torch.diag(found.std)
        @ (torch.eye(D).double() - found.directions.T @ torch.diag(shrunk) @ found.directions)
        @ torch.diag(found.std)
    )
    torch.testing.assert_close(covariance, expected, rtol=1e-3, atol=1e-4)


def test_the_largest_curvatures_are_kept() -> None:
    assert fitted(rank=2).curvatures.sort().values.tolist() == pytest.approx([9 * STD**2, 40 * STD**2], rel=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_stored_draws_have_the_law_of_the_posterior(temperature: float) -> None:
    """Moments, and the Kolmogorov-Smirnov statistic of whitened draws, as SciPy has them."""
    like = {"deep.0": torch.zeros(5), "deep.1": torch.zeros(7)}
    stored = fitted().stored(like=like, temperature=temperature)
    prompts = [drawn(stored, seed=7, index=i) for i in range(4000)]
    draws = np.stack([np.concatenate([each["deep.0"], each["deep.1"]]) for each in prompts]).astype(np.float64)
    covariance = temperature * torch.linalg.inv(torch.eye(D).double() / STD**2 + curvature()).numpy()
    np.testing.assert_allclose(draws.mean(0), np.linspace(-1, 1, D), atol=0.06 * temperature**0.5)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.05 * temperature)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (draws - np.linspace(-1, 1, D)).T)
    assert scipy.stats.kstest(whitened.ravel(), "norm").pvalue > 0.001


def test_a_prior_that_is_not_concave_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="concave"):
        fit_laplace(
            torch.zeros(4),
            loss=lambda points: points,
            log_prior=lambda points: points,
            sizes={"soft": 4},
            rank=1,
            generator=torch.Generator().manual_seed(0),
        )
