"""The comparison of autoencoders on the demo model's embeddings, cut short."""

from __future__ import annotations

from pathlib import Path

import pytest
from promptatlas.types.prior_sources import DatasetPoints, EmbeddingsSource
from promptatlas.types.priors import VaePrior

from service.engine.model.hosted_model import HostedModel
from service.settings import default_datasets_path, default_model_path
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from workers.priors.sources.sources import Sources
from workers.priors.vae_collapse import Line, compare, place_of

POINTS = DatasetPoints(dataset="demo-qa", n=80)
SHORT = VaePrior(
    fit=EmbeddingsSource(embeddings="vocabulary"), d_latent=16, d_hidden=128, epochs=40, batch_size=128, lr=8e-3
)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Line]:
    artifacts = ArtifactStore(str(tmp_path_factory.mktemp("home")))
    datasets = DatasetStore(artifacts, builtin=default_datasets_path(cwd=Path.cwd()))
    model = HostedModel.load("demo", str(default_model_path(cwd=Path.cwd())), device="cpu")
    sources = Sources(model, datasets=datasets, prompts=PromptStore(artifacts))
    return {line.recipe: line for line in compare(sources, points=POINTS, layers=[None], spec=SHORT)}


def test_the_prior_does_not_collapse_where_the_plain_one_does(lines: dict[str, Line]) -> None:
    facts = {recipe: line.facts for recipe, line in lines.items()}
    assert facts["vae"]["active_latents"] == 16
    assert float(facts["vae"]["variance_ratio_median"]) > 0.8
    assert float(facts["vae"]["effective_rank"]) > 0.8 * float(facts["vae"]["data_effective_rank"])
    assert facts["plain"]["active_latents"] == 0
    assert float(facts["plain"]["variance_ratio_max"]) < 0.1


def test_only_autoencoders_with_active_latents_gain_over_a_normal_distribution(lines: dict[str, Line]) -> None:
    gains = {recipe: float(line.facts["gain"]) for recipe, line in lines.items()}
    assert gains["vae"] > 20
    assert gains["vae"] > gains["rushed"] + 10
    assert gains["plain"] < 0


def test_places_are_named() -> None:
    assert (place_of(None), place_of(3)) == ("embeddings", "layer 3")
