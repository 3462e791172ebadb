"""Runs that leave a posterior: its members, its use as a prior, and exact resumption, on a small model with real stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from promptatlas.types.priors import PosteriorPrior
from torch import Tensor

from service.errors import InvalidRequest
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.native_format import PromptContent
from tests.workers.evaluation.fake_run import FakeRun, Killed
from tests.workers.tuning.small_run import SPEC, make_run, small_model, training_of
from workers.priors.kinds.posterior import Posterior
from workers.priors.prior import Space
from workers.priors.sources.sources import Sources
from workers.tuning.posterior.results import flat
from workers.tuning.run import tune
from workers.tuning.samplers.svgd import stein_direction

N_PARTICLES = 4
PRIOR = {"kind": "isotropic", "std": 0.5}
COMMON: Mapping[str, Any] = {"priors": [PRIOR], "seeds": list(range(N_PARTICLES)), "keep": "last"}
OPTIMIZER = SPEC["optimizer"]
METHODS: Mapping[str, Mapping[str, Any]] = {
    "ensemble": {"posterior": {"method": "ensemble"}},
    "svgd": {"posterior": {"method": "svgd"}},
    "sgld": {
        "posterior": {"method": "sgld", "burn_in": 3, "thin": 2},
        "optimizer": {**OPTIMIZER, "lr": 1e-3, "schedule": "constant"},
    },
    "psgld": {
        "posterior": {"method": "sgld", "burn_in": 3, "thin": 2, "preconditioned": True},
        "optimizer": {**OPTIMIZER, "lr": 1e-3},
    },
    "gamma": {
        "posterior": {"method": "sgld", "burn_in": 3, "thin": 2, "preconditioned": True, "damping": 0.1, "gamma": True},
        "optimizer": {**OPTIMIZER, "lr": 1e-3},
    },
    "laplace": {"posterior": {"method": "laplace", "rank": 3, "draws": 5, "n_examples": 20}},
}
N_MEMBERS = {"ensemble": 4, "svgd": 4, "sgld": 4 * 5, "psgld": 4 * 5, "gamma": 4 * 5, "laplace": 5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, FakeRun]:
    """An uninterrupted run of each method."""
    done = {}
    for method, changes in METHODS.items():
        done[method] = make_run(tmp_path_factory.mktemp(method), **{**COMMON, **changes})
        done[method].metrics = dict(tune(done[method]))
    return done


def manifest_of(run: FakeRun) -> PromptManifest:
    return run.prompts.resolve(run.made[0], allows_posterior=True)


def content_of(run: FakeRun) -> PromptContent:
    return run.prompts.load_posterior(manifest_of(run)).content


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_one_version_with_members(method: str, whole: Mapping[str, FakeRun]) -> None:
    run = whole[method]
    assert run.made == ["wording@1"]
    manifest, content = manifest_of(run), content_of(run)
    assert (manifest.kind, manifest.member_kind, manifest.n_virtual) == ("posterior", "soft", 3)
    hashes = [content.member(i).sha256 for i in range(content.n_members)]
    assert manifest.n_members == len(set(hashes)) == N_MEMBERS[method]
    assert manifest.members == (None if method == "laplace" else tuple(hashes))
    assert manifest.metrics["posterior/n_members"] == content.n_members
    assert manifest.metrics == run.metrics
    assert 0 <= run.metrics["test/disagreement"] <= 1
    # Jensen: the mean of the probabilities has at most the mean loss of its members.
    assert run.metrics["test/predictive_nll"] <= run.metrics["test/members_nll"] + 1e-9
    assert "test/loss" in run.metrics
    if method in ("sgld", "psgld", "gamma"):
        assert run.metrics["posterior/rhat"] > 0
        assert run.metrics["posterior/ess"] > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step", [7, 13])
def test_a_killed_run_gives_the_same_posterior(
    method: str, step: int, whole: Mapping[str, FakeRun], tmp_path: Path
) -> None:
    run = make_run(tmp_path, **{**COMMON, **METHODS[method]})
    run.kill_after = step
    with pytest.raises(Killed):
        tune(run)
    again = run.again()
    again.metrics = dict(tune(again))
    assert manifest_of(again).sha256 == manifest_of(whole[method]).sha256
    assert again.metrics == whole[method].metrics


def test_a_laplace_posterior_is_stored_as_its_mean_and_factors(whole: Mapping[str, FakeRun], tmp_path: Path) -> None:
    """The mean is the best member of the training. Without data the standard deviation is the prior's."""
    run, content = whole["laplace"], content_of(whole["laplace"])
    assert manifest_of(run).normal == {"n_draws": 5, "seed": 0}
    assert {name: len(values) for name, values in content.tensors.items()} == {
        "curvatures": 3,
        "directions.soft": 3,
        "mean.soft": 3,
        "std.soft": 1,
    }
    _, _, training = training_of(make_run(tmp_path, **{**COMMON, **METHODS["laplace"]}))
    trainer = training.trainer
    while not trainer.finished:
        trainer.step()
    best = int(manifest_of(run).notes["best"].removeprefix("wording-isotropic-"))
    np.testing.assert_array_equal(content.tensors["mean.soft"], trainer.result(best)["soft"].numpy())
    assert content.tensors["std.soft"][0] == pytest.approx(PRIOR["std"], rel=1e-3)
    sources = Sources(small_model(), datasets=run.datasets, prompts=run.prompts, check=lambda: None)
    assert [prompt.n_virtual for prompt in sources.members("wording@1")] == [3] * 5


def test_the_members_of_an_ensemble_are_the_prompts_of_a_run_without_a_posterior(
    whole: Mapping[str, FakeRun], tmp_path: Path
) -> None:
    run = make_run(tmp_path, **COMMON)
    tune(run)
    prompts = [run.prompts.load(run.prompts.resolve(ref)) for ref in run.made]
    assert manifest_of(whole["ensemble"]).members == tuple(prompt.sha256 for prompt in prompts)


def test_particles_move_along_the_direction_of_the_density(tmp_path: Path) -> None:
    """One SVGD step from the draws, with gradients of the loss and of the prior by other means."""
    changes = {**COMMON, "posterior": {"method": "svgd"}, "optimizer": {**OPTIMIZER, "steps": 1, "clip": None}}
    run = make_run(tmp_path, **changes)
    tune(run)
    context, initialization, training = training_of(make_run(tmp_path / "again", **changes))
    n_tokens = sum(len(example.target_ids) for example in context.training_examples())
    trainer = training.trainer
    draws = torch.stack([flat(initialization.draws[member.draw]) for member in context.members])
    batch = [trainer._train[i] for i in trainer._order.batch(0)]
    _, gradients = trainer._objective.gradients([initialization.draws[m.draw] for m in context.members], [batch])
    scores = -torch.stack([flat(g) for g in gradients]) - draws / 0.5**2 / n_tokens
    direction = stein_direction(draws.double(), scores.double(), repulsion=1 / n_tokens)
    moved = torch.stack(
        [torch.from_numpy(content_of(run).member(i).tensors["soft"].copy()).flatten() for i in range(N_PARTICLES)]
    )
    # AdamW's first update is the sign of its gradient times the rate.
    large = direction.abs() > 1e-4
    assert bool(large.any())
    torch.testing.assert_close((moved - draws)[large], (0.02 * direction.sign()).float()[large], rtol=1e-2, atol=1e-5)


def test_chains_that_diverge_are_named(tmp_path: Path) -> None:
    """Under a prior of std 1e-6, each step multiplies the vectors by about 1e12, until their losses are not finite."""
    changes = {
        **COMMON,
        "priors": [{"kind": "isotropic", "std": 1e-6}],
        "seeds": [0, 1],
        "posterior": {"method": "sgld", "burn_in": 3, "thin": 2},
        "optimizer": {**OPTIMIZER, "lr": 100.0, "schedule": "constant", "steps": 60},
        "eval": {**SPEC["eval"], "every": 1000},
    }
    run = make_run(tmp_path, **changes)
    with pytest.raises(InvalidRequest, match="All members of the run diverged"):
        tune(run)
    logged = " ".join(text for _, text in run.logs)
    for name in ("wording-isotropic-0", "wording-isotropic-1"):
        assert f"{name} was abandoned" in logged
    assert run.made == []


def test_a_posterior_is_a_prior(whole: Mapping[str, FakeRun]) -> None:
    """A normal distribution fitted to all vectors of its members, with their mean and spread."""
    run = whole["ensemble"]
    sources = Sources(small_model(), datasets=run.datasets, prompts=run.prompts, check=lambda: None)
    spec = PosteriorPrior.model_validate({"kind": "posterior", "ref": "wording@1"})
    assert spec.prompts == ["wording@1"]
    fitted = Posterior.fit(spec, space=Space(d_model=small_model().d_model, n_virtual=3), sources=sources)
    vectors = content_of(run).tensors["soft"].reshape(-1, small_model().d_model)
    draws = fitted.sample(4000, generator=torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(draws.mean(0), vectors.mean(0), atol=0.06)
    log_prob: Tensor = fitted.log_prob(torch.tensor(vectors))
    assert bool(log_prob.isfinite().all())


def test_a_run_starts_from_a_posterior_and_is_regularised_by_it(whole: Mapping[str, FakeRun], tmp_path: Path) -> None:
    prior = {"kind": "posterior", "ref": "wording@1"}
    run = FakeRun(
        {**SPEC, "priors": [prior], "name": "next", "regularize": {"weight": 0.5}},
        whole["svgd"].models,
        whole["svgd"].artifacts,
        whole["svgd"].datasets,
        settings=whole["svgd"].settings,
    )
    tune(run)
    assert run.made == ["next-posterior-0@1", "next-posterior-7@1"]
