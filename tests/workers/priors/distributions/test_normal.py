from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from service.errors import InvalidRequest
from tests.workers.priors.clouds import check_draws, gradient_error, moments_of, radii, seeded, tilted_cloud
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import Normal, fit_normal, make_normal
from workers.priors.kinds.gaussian import Gaussian
from workers.priors.kinds.isotropic import Isotropic
from workers.priors.kinds.xavier import Xavier
from workers.priors.prior import NoDensity

D = 13


def fitted(n: int = 400, d: int = D) -> tuple[Normal, np.ndarray, np.ndarray]:
    points = tilted_cloud(n, d)
    return fit_normal(measure(points), shrinkage="none")[0], *moments_of(points)


def test_density_is_scipys() -> None:
    normal, mean, covariance = fitted()
    at = tilted_cloud(29, D, seed=1)
    for scale in (1.0, 0.3, 7.0):
        expected = stats.multivariate_normal(mean, scale * covariance).logpdf(at.double().numpy())
        found = Gaussian(normal.scaled(scale), facts={}).log_prob(at)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_draws_have_the_laws_moments_and_radii() -> None:
    normal, mean, covariance = fitted()
    prior = Gaussian(normal.scaled(2.0), facts={})
    check_draws(prior, d=D)
    draws = prior.sample(4000, generator=seeded(1))
    drawn_mean, drawn_covariance = moments_of(draws)
    assert np.abs(drawn_mean - mean).max() < 5 * np.sqrt(2 * covariance.diagonal().max() / 4000)
    np.testing.assert_allclose(drawn_covariance, 2 * covariance, atol=0.1 * 2 * covariance.diagonal().max())
    assert stats.kstest(radii(draws, mean, 2 * covariance), stats.chi(D).cdf).pvalue > 0.01


def test_a_singular_law_lives_in_its_subspace_and_has_no_density() -> None:
    points = tilted_cloud(7, D)
    normal, facts = fit_normal(measure(points), shrinkage="none")
    assert (normal.rank, facts["rank"], facts["shrinkage"]) == (6, 6.0, 0.0)
    prior = Gaussian(normal, facts=facts)
    check_draws(prior, d=D)
    draws = prior.sample(900, generator=seeded(0))
    centred = (points - points.mean(0)).double()
    spanned = torch.linalg.lstsq(centred.T, (draws.double() - points.double().mean(0)).T)
    rest = centred.T @ spanned.solution - (draws.double() - points.double().mean(0)).T
    assert float(rest.abs().max()) < 1e-5
    np.testing.assert_allclose(moments_of(draws)[1], moments_of(points)[1], atol=0.25)
    assert stats.kstest(normal.squared_distance(draws).sqrt().numpy(), stats.chi(6).cdf).pvalue > 0.01
    with pytest.raises(NoDensity, match="rank 6 of 13"):
        prior.log_prob(draws)


def test_auto_mends_a_singular_covariance_of_many_points() -> None:
    points = tilted_cloud(400, D)
    points[:, 4] = 0.5
    normal, facts = fit_normal(measure(points), shrinkage="auto")
    assert normal.is_regular
    assert facts["shrinkage_method"] == "ledoit-wolf"
    assert 0 < float(facts["shrinkage"]) < 0.1
    assert not fit_normal(measure(points), shrinkage="none")[0].is_regular


def test_a_cloud_of_one_point_fits_no_distribution() -> None:
    with pytest.raises(InvalidRequest, match="the same"):
        fit_normal(measure(torch.ones(5, 3)), shrinkage="auto")
    with pytest.raises(InvalidRequest, match="not finite"):
        make_normal(torch.zeros(2, dtype=torch.float64), torch.full((2, 2), torch.nan, dtype=torch.float64))


def test_two_thousand_dimensions_with_fewer_points() -> None:
    generator = seeded(4)
    points = torch.randn(600, 2048, generator=generator) * torch.linspace(0.01, 0.05, 2048) + 0.1
    normal, facts = fit_normal(measure(points), shrinkage="auto")
    assert normal.is_regular
    assert facts["shrinkage_method"] == "ledoit-wolf"
    draws = normal.sample(200, generator=seeded(1))
    assert stats.kstest(normal.squared_distance(draws).numpy(), stats.chi2(2048).cdf).pvalue > 0.01
    assert bool(normal.log_density(normal.squared_distance(draws)).isfinite().all())


def test_isotropic_is_scipys() -> None:
    prior = Isotropic(std=0.02, d=D)
    check_draws(prior, d=D)
    draws = prior.sample(500, generator=seeded(0))
    assert stats.kstest(draws.flatten().numpy() / 0.02, "norm").pvalue > 0.01
    expected = stats.multivariate_normal(np.zeros(D), 0.02**2 * np.eye(D)).logpdf(draws.double().numpy())
    np.testing.assert_allclose(prior.log_prob(draws).numpy(), expected, rtol=1e-9)


def test_xavier_is_scipys_and_flat() -> None:
    bound = (6 / (5 + D)) ** 0.5
    prior = Xavier(bound=bound, d=D)
    check_draws(prior, d=D)
    draws = prior.sample(500, generator=seeded(0))
    uniform = stats.uniform(-bound, 2 * bound)
    assert stats.kstest(draws.flatten().numpy(), uniform.cdf).pvalue > 0.01
    np.testing.assert_allclose(prior.log_prob(draws).numpy(), D * uniform.logpdf(0))
    outside = torch.zeros(2, D)
    outside[1, 3] = 1.01 * bound
    assert prior.log_prob(outside).tolist() == [pytest.approx(D * uniform.logpdf(0)), -np.inf]
    with pytest.raises(NoDensity, match="flat"):
        prior.map_log_prob(draws)


@pytest.mark.parametrize("kind", ["isotropic", "gaussian"])
def test_slopes_are_those_of_the_density(kind: str) -> None:
    prior = Isotropic(std=0.5, d=D) if kind == "isotropic" else Gaussian(fitted()[0], facts={})
    assert gradient_error(prior, tilted_cloud(5, D, seed=2)) < 1e-6
