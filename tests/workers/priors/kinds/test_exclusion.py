from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from service.errors import InvalidRequest
from tests.workers.priors.clouds import Array, check_draws, gradient_error, moments_of, radii, seeded, tilted_cloud
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import Normal, fit_normal, make_normal
from workers.priors.kinds.exclusion import RIM, Exclusion
from workers.priors.prior import NoDensity


def standard(d: int) -> Normal:
    return make_normal(torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64))


def kept_share(squared: Array, *, d: int, c: float) -> Array:
    """The share of candidates kept at a squared distance, as the definition has it: 1 − pdf/pdf_wide, if positive."""
    c_dim = np.exp(2 / d * np.log(c))
    share: Array = np.clip(1 - c * np.exp(-squared / 2 * (1 - 1 / c_dim)), 0, None)
    return share


def radial_cdf(d: int, c: float) -> tuple[Array, Array]:
    """A grid of radii and the cumulative distribution there, by numeric integration of the definition."""
    c_dim = np.exp(2 / d * np.log(c))
    wide = stats.chi(d, scale=np.sqrt(c_dim))
    grid = np.linspace(0, wide.isf(1e-12), 40_001)
    density = wide.pdf(grid) * kept_share(grid**2, d=d, c=c)
    total = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    return grid, total


@pytest.mark.parametrize(("d", "c"), [(1, 5.0), (3, 1.3), (17, 5.0), (128, 5.0), (2048, 5.0), (2048, 50.0)])
def test_radii_have_the_exact_law_and_acceptance(d: int, c: float) -> None:
    prior = Exclusion(standard(d), c=c, facts={})
    grid, total = radial_cdf(d, c)
    assert prior.acceptance == pytest.approx(total[-1], rel=1e-4)
    squared, n_candidates = prior.squared_distances(2000, generator=seeded(1))
    spread = np.sqrt(prior.acceptance / n_candidates)
    assert abs(len(squared) / n_candidates - prior.acceptance) < 4 * spread
    fit = stats.kstest(squared.sqrt().numpy()[:2000], lambda r: np.interp(r, grid, total / total[-1]))
    assert fit.pvalue > 0.01
    assert float(squared.min()) > prior.hole


def test_about_one_in_fifty_is_kept_in_2048_dimensions() -> None:
    assert 0.018 < Exclusion(standard(2048), c=5.0, facts={}).acceptance < 0.022


def test_draws_around_a_tilted_cloud() -> None:
    d, c = 7, 5.0
    points = tilted_cloud(300, d)
    mean, covariance = moments_of(points)
    normal, facts = fit_normal(measure(points), shrinkage="none")
    prior = Exclusion(normal, c=c, facts=facts)
    check_draws(prior, d=d)
    draws = prior.sample(4000, generator=seeded(0))
    distances = radii(draws, mean, covariance)
    grid, total = radial_cdf(d, c)
    assert stats.kstest(distances, lambda r: np.interp(r, grid, total / total[-1])).pvalue > 0.01
    white = (draws.double().numpy() - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    directions = white / np.linalg.norm(white, axis=1, keepdims=True)
    assert np.abs(directions.mean(0)).max() < 5 / np.sqrt(d * 4000)
    np.testing.assert_allclose(directions.T @ directions / 4000, np.eye(d) / d, atol=0.02)


def test_density_is_that_of_the_definition_and_integrates_to_one() -> None:
    points = tilted_cloud(300, 3)
    mean, covariance = moments_of(points)
    normal, _ = fit_normal(measure(points), shrinkage="none")
    prior = Exclusion(normal, c=4.0, facts={})
    at = prior.sample(50, generator=seeded(2))
    c_dim = 4.0 ** (2 / 3)
    narrow, wide = stats.multivariate_normal(mean, covariance), stats.multivariate_normal(mean, c_dim * covariance)
    array = at.double().numpy()
    accepted = 1 - np.exp(narrow.logpdf(array) - wide.logpdf(array))
    expected = wide.logpdf(array) + np.log(accepted) - np.log(radial_cdf(3, 4.0)[1][-1])
    np.testing.assert_allclose(prior.log_prob(at).numpy(), expected, rtol=1e-4)

    line = Exclusion(standard(1), c=2.0, facts={})
    total, _ = quad(lambda x: float(line.log_prob(torch.tensor([[x]])).exp()), line.hole**0.5, 30, limit=200)
    assert 2 * total == pytest.approx(1, rel=1e-6)


def test_the_core_has_no_density_but_pushes_outwards() -> None:
    prior = Exclusion(standard(11), c=5.0, facts={})
    direction = torch.nn.functional.normalize(torch.randn(1, 11, generator=seeded(0), dtype=torch.float64))
    edge = prior.hole**0.5
    path = (torch.tensor([0.2, 0.6, 0.99, 1.002, 1.3, 4.0]) * edge)[:, None] * direction
    path.requires_grad_()
    exact = prior.log_prob(path)
    assert exact.tolist()[:3] == [-np.inf] * 3
    followed = prior.map_log_prob(path)
    assert bool(followed.isfinite().all())
    # Beyond the rim they are one; inside, the tangent goes on falling.
    far = prior._outside(path.square().sum(1)) > RIM
    assert torch.equal(followed[far], exact[far])
    assert int(far.sum()) >= 2
    assert bool((followed.diff()[:3] > 0).all())
    (slopes,) = torch.autograd.grad(followed.sum(), path)
    outwards = (slopes * direction).sum(1)
    assert bool((outwards[:4] > 0).all())
    assert float(outwards[-1]) < 0


@pytest.mark.parametrize("share", [0.5, 1.01, 1.5])
def test_slopes_are_those_of_the_penalty(share: float) -> None:
    prior = Exclusion(standard(11), c=5.0, facts={})
    directions = torch.nn.functional.normalize(torch.randn(5, 11, generator=seeded(0), dtype=torch.float64))
    assert gradient_error(prior, directions * share * prior.hole**0.5) < 1e-5


def test_a_hole_that_nothing_leaves_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="choose a larger c"):
        Exclusion(standard(2048), c=1.0001, facts={})


def test_a_singular_covariance_is_drawn_in_its_subspace() -> None:
    normal, facts = fit_normal(measure(tilted_cloud(6, 11)), shrinkage="none")
    prior = Exclusion(normal, c=5.0, facts=facts)
    draws = prior.sample(300, generator=seeded(0))
    assert float(normal.squared_distance(draws).min()) > 0.999 * prior.hole
    with pytest.raises(NoDensity, match="rank 5 of 11"):
        prior.log_prob(draws)


def test_a_long_draw_can_be_stopped() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Exclusion(standard(3), c=5.0, facts={}, check=stop).sample(1, generator=seeded(0))
