from __future__ import annotations

import numpy as np
import pytest
import torch
from promptatlas.types.priors import PosteriorPrior
from sklearn.mixture import GaussianMixture

from service.engine.prompts.prompt import Prompt
from service.errors import InvalidRequest
from tests.workers.priors.clouds import check_draws, gradient_error, moments_of, seeded, tilted_cloud
from workers.priors.distributions.mixture import Mixture, fit_mixture
from workers.priors.kinds.posterior import Posterior
from workers.priors.kinds.prompt import Stored, vectors_at
from workers.priors.prior import Space
from workers.priors.sources.sources import Sources

D = 7
SOFT = Space(d_model=D, n_virtual=4)


class FakeSources(Sources):
    """Prompts by reference, and nothing else."""

    def __init__(self, **prompts: Prompt) -> None:
        self._by_ref = prompts

    def prompt(self, ref: str) -> Prompt:
        return self._by_ref[ref]

    def members(self, ref: str) -> list[Prompt]:
        return [self.prompt(ref)]


def soft(seed: int, *, n: int = 20, shift: float = 0.0) -> Prompt:
    return Prompt("soft", {"soft": tilted_cloud(n, D, seed=seed) + shift})


def two_clusters() -> FakeSources:
    return FakeSources(a=soft(0), b=soft(1, n=60, shift=30.0))


def fit(sources: FakeSources, **fields: object) -> Posterior:
    spec = PosteriorPrior.model_validate({"prompts": sorted(sources._by_ref), **fields})
    return Posterior.fit(spec, space=SOFT, sources=sources)


def test_few_vectors_are_shrunk_and_it_says_so() -> None:
    prior = fit(FakeSources(a=soft(0, n=4)))
    assert prior.facts["shrinkage_method"] == "ledoit-wolf"
    assert 0 < float(prior.facts["shrinkage"]) <= 1
    check_draws(prior, d=D)
    assert bool(prior.log_prob(tilted_cloud(5, D)).isfinite().all())


def test_a_gaussian_has_the_moments_of_all_prompts_together() -> None:
    sources = FakeSources(a=soft(0, n=90), b=soft(1, n=30))
    together = torch.cat([p.tensors["soft"] for p in sources._by_ref.values()])
    mean, covariance = moments_of(together)
    drawn_mean, drawn_covariance = moments_of(fit(sources, shrinkage="none").sample(4000, generator=seeded(0)))
    np.testing.assert_allclose(drawn_mean, mean, atol=0.15)
    np.testing.assert_allclose(drawn_covariance, covariance, atol=0.1 * covariance.diagonal().max())


def test_a_mixture_has_one_component_for_each_prompt_and_its_share() -> None:
    prior = fit(two_clusters(), fit="mixture")
    assert (prior.facts["n_components"], prior.facts["n_distinct"]) == (2.0, 80.0)
    assert prior.facts["largest_component"] == pytest.approx(0.75)
    check_draws(prior, d=D)
    draws = prior.sample(2000, generator=seeded(0))
    shifted = draws.mean(1) > 15
    assert float(shifted.double().mean()) == pytest.approx(0.75, abs=0.04)
    expected = two_clusters().prompt("b").tensors["soft"].mean(0)
    np.testing.assert_allclose(draws[shifted].mean(0).numpy(), expected.numpy(), atol=0.2)
    # One normal distribution over both prompts has most of its draws between them.
    between = (draws.mean(1) > 8) & (draws.mean(1) < 22)
    assert float(between.double().mean()) < 0.01
    assert fit(two_clusters(), fit="mixture", components=5).facts["n_components"] == 5.0


def test_mixture_density_is_scikit_learns() -> None:
    points = torch.cat([p.tensors["soft"] for p in two_clusters()._by_ref.values()])
    covariance = torch.from_numpy(moments_of(points)[1])
    mixture = fit_mixture(points, covariance=covariance, n_components=3, shrinkage=0.02)
    model = GaussianMixture(3, covariance_type="diag")
    model.weights_, model.means_ = mixture.log_weights.exp().numpy(), mixture.means.numpy()
    model.precisions_cholesky_ = mixture.variances.rsqrt().numpy()
    model.covariances_ = mixture.variances.numpy()
    at = tilted_cloud(31, D, seed=2) + 10
    expected = model.score_samples((at.double() @ mixture.axes.T).numpy())
    np.testing.assert_allclose(mixture.log_density(at).numpy(), expected, rtol=1e-9)
    identity = mixture.axes @ mixture.axes.T
    np.testing.assert_allclose(identity.numpy(), np.eye(D), atol=1e-12)
    assert float(mixture.variances.min()) > 0.02 * float(covariance.diagonal().mean()) * (1 - 1e-9)


def test_a_mixture_far_away_neither_overflows_nor_loses_its_slope() -> None:
    double = torch.float64
    mixture = Mixture(
        axes=torch.eye(2, dtype=double),
        log_weights=torch.tensor([0.5, 0.5], dtype=double).log(),
        means=torch.tensor([[0.0, 0], [3, 0]], dtype=double),
        variances=torch.full((2, 2), 1e-4, dtype=double),
    )
    at = torch.tensor([[1e3, 1e3]], dtype=double, requires_grad=True)
    density = mixture.log_density(at)
    (slope,) = torch.autograd.grad(density.sum(), at)
    assert bool(density.isfinite().all())
    np.testing.assert_allclose(slope.numpy(), [[-(1e3 - 3) / 1e-4, -1e3 / 1e-4]], rtol=1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_slopes_are_those_of_the_density(kind: str) -> None:
    assert gradient_error(fit(two_clusters(), fit=kind), tilted_cloud(5, D, seed=3)) < 1e-5


def test_what_fits_no_law_is_refused() -> None:
    same = FakeSources(a=Prompt("soft", {"soft": torch.ones(4, D)}))
    for kind in ("gaussian", "mixture"):
        with pytest.raises(InvalidRequest, match="the same"):
            fit(same, fit=kind)
    with pytest.raises(
        InvalidRequest, match="9 components need at least as many different vectors; the prompts have 4"
    ):
        fit(FakeSources(a=soft(0, n=4)), fit="mixture", components=9)


def test_vectors_must_stand_where_the_new_ones_go() -> None:
    deep = Prompt("deep", {"deep.2": torch.ones(4, D)}, "local")
    at_two = Space(d_model=D, n_virtual=4, layer=2)
    assert torch.equal(vectors_at(deep, ref="p", space=at_two), torch.ones(4, D))
    with pytest.raises(InvalidRequest, match=r"vectors at layer 1; 'p' is deep, with layers \[2\]"):
        vectors_at(deep, ref="p", space=Space(d_model=D, n_virtual=4, layer=1))
    with pytest.raises(InvalidRequest, match="vectors at the token embeddings; 'p' is deep"):
        vectors_at(deep, ref="p", space=SOFT)


def test_a_stored_prompt_gives_its_own_vectors_and_no_others() -> None:
    vectors = tilted_cloud(4, D)
    prior = Stored(vectors, ref="p@1")
    drawn = prior.sample(4, generator=seeded(0))
    assert torch.equal(drawn, vectors)
    drawn.zero_()
    assert torch.equal(prior.sample(4, generator=seeded(1)), vectors)
    with pytest.raises(InvalidRequest, match="'p@1' has 4 vectors, 9 are asked for"):
        prior.sample(9, generator=seeded(0))
