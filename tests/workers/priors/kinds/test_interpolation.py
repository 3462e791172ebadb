from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from tests.workers.priors.clouds import check_draws, moments_of, seeded, tilted_cloud
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import fit_normal
from workers.priors.kinds.gaussian import Gaussian
from workers.priors.kinds.interpolation import Interpolation
from workers.priors.kinds.isotropic import Isotropic
from workers.priors.prior import NoDensity

D = 5


def ends() -> tuple[Gaussian, Gaussian]:
    clouds = tilted_cloud(300, D), tilted_cloud(300, D, seed=1).flip(1) * 0.5
    fits = [fit_normal(measure(cloud), shrinkage="none") for cloud in clouds]
    return Gaussian(fits[0][0], facts=fits[0][1]), Gaussian(fits[1][0], facts=fits[1][1])


def test_the_law_is_the_mixture_over_all_shares() -> None:
    clouds = tilted_cloud(300, D), tilted_cloud(300, D, seed=1).flip(1) * 0.5
    (mean_x, of_x), (mean_y, of_y) = map(moments_of, clouds)
    x, y = ends()
    prior = Interpolation(from_=x, to=y)
    check_draws(prior, d=D)
    draws = prior.sample(6000, generator=seeded(0))
    mean, covariance = moments_of(draws)
    # E[a²] = E[(1−a)²] = 1/3 and Var[a] = 1/12.
    gap = mean_x - mean_y
    expected = (of_x + of_y) / 3 + np.outer(gap, gap) / 12
    np.testing.assert_allclose(mean, (mean_x + mean_y) / 2, atol=0.1)
    np.testing.assert_allclose(covariance, expected, atol=0.06 * expected.diagonal().max())
    shares = (np.arange(2000) + 0.5) / 2000
    for j in (0, D - 1):
        scale = np.sqrt(shares**2 * of_x[j, j] + (1 - shares) ** 2 * of_y[j, j])
        centre = shares * mean_x[j] + (1 - shares) * mean_y[j]

        def cdf(values: np.ndarray, centre: np.ndarray = centre, scale: np.ndarray = scale) -> np.ndarray:
            share: np.ndarray = stats.norm.cdf(values[:, None], centre, scale).mean(1)
            return share

        assert stats.kstest(draws[:1500, j].double().numpy(), cdf).pvalue > 0.01


def test_facts_say_which_end_they_are_of() -> None:
    prior = Interpolation(from_=Isotropic(std=0.5, d=D), to=Isotropic(std=2.0, d=D))
    assert prior.facts == {"from_std": 0.5, "to_std": 2.0}


def test_ends_have_their_own_noise() -> None:
    end = Isotropic(std=1.0, d=D)
    draws = Interpolation(from_=end, to=end).sample(4000, generator=seeded(0))
    # Equal noise at both ends would leave the variance of one.
    assert float(draws.var()) == pytest.approx(2 / 3, rel=0.05)


def test_it_has_no_density() -> None:
    with pytest.raises(NoDensity, match="interpolation"):
        Interpolation(from_=Isotropic(std=1.0, d=D), to=Isotropic(std=1.0, d=D)).log_prob(torch.zeros(1, D))
