"""The kind ``sample`` on a run, with the demo model's own stores replaced by small ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.errors import InvalidRequest
from service.store.artifacts.tensor_codec import decode
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.priors.small_world import Stores, method, prior, small_model
from workers.priors.run import OUTPUT, sample
from workers.running.interface import RunStopped
from workers.tuning.draws import draw

GAUSSIAN = {"kind": "gaussian", "fit": {"activations": {"dataset": "words"}}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores.under(tmp_path_factory.mktemp("home"))


def run_of(stores: Stores, **spec: Any) -> FakeRun:
    whole = {"model": "small", "prior": GAUSSIAN, **spec}
    return FakeRun(whole, {"small": small_model()}, stores.artifacts, stores.datasets)


@pytest.mark.parametrize(("layer", "name"), [(None, "soft"), (2, "deep.2"), (-1, "deep.2")])
def test_the_vectors_are_those_that_tuning_starts_from(stores: Stores, layer: int | None, name: str) -> None:
    run = run_of(stores, n=5, seed=8, layer=layer)
    metrics = sample(run)
    file = decode(run.outputs[OUTPUT])
    chosen = method(kind="soft", n_virtual=5) if layer is None else method(kind="deep", n_virtual=5, layers=[2])
    model = small_model()
    expected = draw(chosen, prior(**GAUSSIAN), seed=8, model=model, sources=stores.sources(model))
    assert list(file.tensors) == ["vectors"]
    np.testing.assert_array_equal(file.tensors["vectors"], expected[name].numpy())
    assert file.metadata["layer"] == (None if layer is None else 2)
    assert (file.metadata["seed"], file.metadata["n"]) == (8, 5)
    assert file.metadata["prior"]["kind"] == "gaussian"
    assert file.metadata["revision"] == model.card.revision
    assert file.metadata["facts"]["shrinkage_method"] == "ledoit-wolf"
    assert run.steps[-1] == (2, 2)
    assert next(text for level, text in run.logs if level == "info").startswith("The covariance is shrunk by 0.")
    numbers = {key: value for key, value in file.metadata["facts"].items() if isinstance(value, float)}
    assert metrics == numbers
    assert metrics["n_points"] == 31 * 3
    assert metrics["draw_mean_norm"] == pytest.approx(float(expected[name].norm(dim=1).mean()))


def test_one_vector_is_enough(stores: Stores) -> None:
    run = run_of(stores, n=1, prior={"kind": "isotropic"})
    assert sample(run)["std"] == 0.02
    assert decode(run.outputs[OUTPUT]).tensors["vectors"].shape == (1, small_model().d_model)


def test_an_interpolation_comes_back_as_it_was_asked(stores: Stores) -> None:
    asked = {"kind": "interpolation", "from": {"kind": "vocabulary"}, "to": {"kind": "isotropic", "std": 0.5}}
    run = run_of(stores, prior=asked)
    assert sample(run)["to_std"] == 0.5
    assert decode(run.outputs[OUTPUT]).metadata["prior"] == asked


def test_a_collapsed_autoencoder_is_a_warning(stores: Stores) -> None:
    fit = {"embeddings": "vocabulary"}
    run = run_of(
        stores, prior={"kind": "vae", "fit": fit, "epochs": 1, "d_latent": 2, "d_hidden": 4, "free_bits": 50.0}
    )
    sample(run)
    assert "No latent dimension is in use" in run.warnings()[0]


def test_it_stops_when_told(stores: Stores) -> None:
    run = run_of(stores)
    run.stop_at = 3
    with pytest.raises(RunStopped):
        sample(run)
    assert not run.outputs


def test_a_layer_that_is_not_there_is_named(stores: Stores) -> None:
    with pytest.raises(InvalidRequest, match="layer 7: the model has layers 0 to 2"):
        sample(run_of(stores, layer=7))


def test_the_run_context_is_what_sources_take(stores: Stores, tmp_path: Path) -> None:
    """Two runs on the same store give the same bytes."""
    outputs = []
    for _ in range(2):
        run = run_of(stores, prior={"kind": "exclusion", "fit": {"embeddings": "vocabulary"}}, n=3)
        metrics = sample(run)
        assert 0 < metrics["acceptance"] < 1
        outputs.append(run.outputs[OUTPUT])
    assert outputs[0] == outputs[1]
    assert torch.from_numpy(decode(outputs[0]).tensors["vectors"].copy()).isfinite().all()
