"""The autoencoder on a curved cloud, which no normal distribution fits and on which the plain one collapses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from service.errors import InvalidRequest
from tests.workers.priors.clouds import check_draws, gradient_error, moments_of, seeded, tilted_cloud
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import fit_normal
from workers.priors.kinds.vae import Vae
from workers.priors.prior import NoDensity
from workers.priors.vae.axes import principal_axes
from workers.priors.vae.latent import LatentDistribution
from workers.priors.vae.training import Recipe, train

D = 11
RECIPE = Recipe(d_latent=2, d_hidden=32, epochs=80, lr=5e-3, batch_size=100, seed=3, free_bits=0.1, warmup=0.5)


def ring(n: int, *, seed: int = 0) -> torch.Tensor:
    """A thin ring in a tilted plane, small as embeddings are, with a little noise in all dimensions."""
    generator = seeded(seed)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    plane = torch.linalg.qr(torch.randn(D, 2, generator=seeded(9)))[0]
    circle = torch.stack([angle.cos(), angle.sin()], dim=1) @ plane.T
    points: torch.Tensor = 0.05 * (circle + 0.1 * torch.randn(n, D, generator=generator) + torch.linspace(-1, 1, D))
    return points


@pytest.fixture(scope="module")
def vae() -> Vae:
    return Vae.train(ring(1500), recipe=RECIPE)


@pytest.fixture(scope="module")
def plain() -> Vae:
    return Vae.train_naively(ring(1500), recipe=replace(RECIPE, epochs=40))


def test_its_samples_fill_what_the_data_fill(vae: Vae) -> None:
    assert vae.facts["effective_rank"] == pytest.approx(vae.facts["data_effective_rank"], rel=0.15)
    assert float(vae.facts["variance_ratio_min"]) > 0.85
    assert float(vae.facts["variance_ratio_max"]) < 1.15
    assert vae.facts["active_latents"] == 2
    # The distribution of a ring: two wide directions, and nothing in the middle.
    check_draws(vae, d=D)
    draws, data = vae.sample(1500, generator=seeded(0)), ring(1500, seed=1)
    np.testing.assert_allclose(moments_of(draws)[0], moments_of(data)[0], atol=0.01)
    np.testing.assert_allclose(moments_of(draws)[1], moments_of(data)[1], atol=4e-4)
    middle = data.mean(0)
    of_data, of_draws = ((points - middle).norm(dim=1).quantile(0.05) for points in (data, draws))
    assert float(of_draws) > 0.8 * float(of_data)


def test_the_plain_one_collapses(plain: Vae) -> None:
    assert float(plain.facts["variance_ratio_max"]) < 0.3
    assert plain.facts["active_latents"] == 0


def test_free_bits_hold_latents_open_that_have_nothing_to_tell() -> None:
    """Without structure, the divergence goes to what is free and no lower; with nothing free, to zero."""
    noise = torch.randn(1500, D, generator=seeded(0))
    last = replace(RECIPE, warmup=0.0, epochs=20, keep_best=False)
    nats = [float(Vae.train(noise, recipe=replace(last, free_bits=free)).facts["latent_nats"]) for free in (0.0, 0.5)]
    assert nats[0] < 0.1
    assert nats[1] == pytest.approx(2 * 0.5, rel=0.15)


def test_unseen_points_are_more_likely_than_under_a_normal_distribution(vae: Vae) -> None:
    unseen = ring(400, seed=2)
    normal, _ = fit_normal(measure(ring(1500)), shrinkage="none")
    of_normal = normal.log_density(normal.squared_distance(unseen)).mean()
    assert float(vae.log_prob(unseen).mean()) > float(of_normal) + 0.5


def test_density_is_the_integral_over_latents() -> None:
    """With one latent dimension the integral can be done on a grid."""
    points = ring(500)
    recipe = replace(RECIPE, d_latent=1, epochs=20)
    vae = Vae.train(points, recipe=recipe)
    at = points[:20]
    grid = torch.linspace(-12, 12, 6001, dtype=torch.float64)[:, None]
    axes = vae._axes
    y = axes.to(at)
    likelihood = vae._network.log_likelihood(y.expand(len(grid), -1, -1), grid[:, None].expand(-1, len(at), -1))
    joint = likelihood + vae._latent.log_density(grid)[:, None]
    expected = torch.logsumexp(joint, 0) + math.log(24 / 6000) - axes.log_volume()
    error = vae.log_prob(at) - expected
    assert float(error.abs().max()) < 0.4
    assert float(error.mean().abs()) < 0.05


def test_slopes_are_those_of_the_density(vae: Vae) -> None:
    assert gradient_error(vae, ring(5, seed=4), step=1e-7) < 1e-3


def test_the_same_seed_trains_the_same_and_another_does_not() -> None:
    recipe = replace(RECIPE, epochs=2)
    draws = [Vae.train(ring(200), recipe=recipe).sample(3, generator=seeded(0)) for _ in range(2)]
    assert torch.equal(*draws)
    other = Vae.train(ring(200), recipe=replace(recipe, seed=4)).sample(3, generator=seeded(0))
    assert not torch.equal(other, draws[0])


def test_training_can_be_stopped() -> None:
    n_checks = 0

    def stop() -> None:
        nonlocal n_checks
        n_checks += 1
        if n_checks == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ring(200), recipe=RECIPE, check=stop)


def test_fewer_points_than_dimensions_span_a_subspace() -> None:
    points = ring(8)
    vae = Vae.train(points, recipe=replace(RECIPE, epochs=2))
    draws = vae.sample(5, generator=seeded(0))
    centred = points - points.mean(0)
    outside = (draws - points.mean(0)).T
    solved = torch.linalg.lstsq(centred.T.double(), outside.double(), driver="gelsd").solution
    assert float((centred.T.double() @ solved - outside).abs().max()) < 1e-6
    with pytest.raises(NoDensity, match="does not vary in every dimension"):
        vae.log_prob(points)


def test_axes_go_there_and_back() -> None:
    points = tilted_cloud(100, D)
    axes = principal_axes(measure(points))
    y = axes.to(points)
    torch.testing.assert_close(axes.back(y), points)
    variances = y.var(0, correction=0)
    expected = torch.linalg.eigvalsh(measure(points).covariance).sqrt()
    torch.testing.assert_close(variances, expected)
    assert axes.log_volume() == pytest.approx(float(torch.linalg.eigvalsh(measure(points).covariance).log().sum()) / 4)
    with pytest.raises(InvalidRequest, match="the same"):
        principal_axes(measure(torch.ones(3, 2)))


def test_a_latent_law_is_a_density_that_is_drawn_from() -> None:
    latents = torch.cat([tilted_cloud(400, 2), tilted_cloud(400, 2, seed=1) + 8]).double()
    latent = LatentDistribution.fit(latents, generator=seeded(0))
    assert latent.n_components > 1
    draws = latent.sample(4000, generator=seeded(1))
    np.testing.assert_allclose(moments_of(draws)[1], moments_of(latents)[1], rtol=0.1)
    span = torch.linspace(-15, 20, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(span, span).view(301, 301, 2)
    total = latent.log_density(grid).exp().sum() * float(span[1] - span[0]) ** 2
    assert float(total) == pytest.approx(1, rel=1e-3)
    standard = LatentDistribution.standard(3)
    found = standard.log_density(torch.ones(1, 3, dtype=torch.float64))
    assert float(found) == pytest.approx(stats.norm.logpdf(1) * 3)
