"""Clouds against plain transformers: which tokens, which states, and that each is read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from promptatlas.types.prior_sources import ActivationsSource, DatasetPoints, EmbeddingsSource, LayerPoints, Source
from torch import Tensor

from service.errors import EngineFault, InvalidRequest, NotFound
from service.store.datasets.store import DatasetStore
from tests.oracle.models import N_VOCAB
from tests.workers.priors.small_world import BEGIN, Stores, plain_model, small_model
from tests.workers.tuning.small_run import small_model as without_begin
from workers.priors.sources import dataset_reader as reading
from workers.priors.sources.cache import Cache
from workers.priors.sources.sources import Sources

VOCABULARY = EmbeddingsSource(embeddings="vocabulary")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores.under(tmp_path_factory.mktemp("home"))


def states(layer: int | None, dataset: str = "words", **fields: Any) -> Source:
    return ActivationsSource(activations=LayerPoints(dataset=dataset, layer=layer, **fields))


def embedded(dataset: str = "words", **fields: Any) -> Source:
    return EmbeddingsSource(embeddings=DatasetPoints(dataset=dataset, **fields))


def ids_of(text: str) -> list[int]:
    ids = small_model().tokenizer(text)["input_ids"]
    assert ids[0] == BEGIN
    return list(ids)


def texts(datasets: DatasetStore, name: str, **fields: Any) -> list[str]:
    return [item.text or f"{item.input}{item.target}" for item in datasets.examples(name, **fields)]


def plain_states(text: str, layer: int) -> Tensor:
    """Hidden states of the text's own tokens by plain transformers."""
    with torch.no_grad():
        out = plain_model()(torch.tensor([ids_of(text)]), output_hidden_states=True)
    found: Tensor = out.hidden_states[layer][0, 1:]
    return found


@pytest.mark.parametrize("dataset", ["words", "lines"])
@pytest.mark.parametrize("layer", [0, 2])
def test_activations_are_the_inputs_of_the_block(stores: Stores, dataset: str, layer: int) -> None:
    found = stores.sources(small_model()).points(states(layer, dataset, n=7), layer=None)
    chosen = texts(stores.datasets, dataset, split="train", n=7, seed=0)
    expected = torch.cat([plain_states(text, layer) for text in chosen])
    # Texts of one forward are answered in the order asked, whatever their lengths.
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    assert found.dtype == torch.float32


def test_a_layer_that_is_not_named_is_where_the_vectors_go(stores: Stores) -> None:
    sources = stores.sources(small_model())
    there = sources.points(states(None, n=5), layer=2)
    assert torch.equal(there, sources.points(states(2, n=5), layer=0))
    assert torch.equal(there, sources.points(states(-1, n=5), layer=None))
    assert torch.equal(sources.points(states(None, n=5), layer=None), sources.points(embedded(n=5), layer=2))
    with pytest.raises(InvalidRequest, match="layer 3: the model has layers 0 to 2"):
        sources.points(states(3), layer=None)


def test_embeddings_as_they_occur_leave_out_what_the_tokenizer_adds(stores: Stores) -> None:
    found = stores.sources(small_model()).points(embedded(n=9, seed=4), layer=None)
    ids = [i for text in texts(stores.datasets, "words", split="train", n=9, seed=4) for i in ids_of(text)[1:]]
    weight = plain_model().get_input_embeddings().weight
    assert torch.equal(found, weight[torch.tensor(ids)])


def test_which_texts_and_split_are_as_asked(stores: Stores) -> None:
    sources = stores.sources(small_model())
    clouds = [sources.points(embedded(n=n, seed=seed), layer=None) for n, seed in ((9, 0), (9, 1), (4, 0))]
    assert not torch.equal(clouds[0], clouds[1])
    assert len(clouds[2]) == 4 * 3
    assert len(sources.points(embedded(split="validation"), layer=None)) == 5 * 3
    with pytest.raises(InvalidRequest, match="test split of 'words' has no tokens"):
        sources.points(embedded(split="test"), layer=None)
    with pytest.raises(NotFound):
        sources.points(embedded("nothing"), layer=None)


def test_scaled_embeddings_are_what_the_module_gives(stores: Stores) -> None:
    """Gemma multiplies inside its embedding module; a soft vector stands in for what comes out."""
    model = small_model("gemma3")
    module = plain_model("gemma3").get_input_embeddings()
    found = stores.sources(model).points(VOCABULARY, layer=None)
    expected = module(torch.arange(N_VOCAB))
    assert not torch.allclose(expected, module.weight)
    assert torch.equal(found, expected)


def test_the_vocabulary_ends_with_the_tokenizers(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    monkeypatch.setattr(type(model.tokenizer), "__len__", lambda self: N_VOCAB - 5)
    assert len(stores.sources(model).points(VOCABULARY, layer=None)) == N_VOCAB - 5


def test_a_large_cloud_is_thinned_evenly_and_reproducibly(stores: Stores) -> None:
    model = small_model()
    whole = stores.sources(model).points(states(1), layer=None)
    bound = 40 * model.d_model * 4
    for source in (states(1), embedded()):
        thinned, again = (stores.sources(model, max_points_bytes=bound).points(source, layer=None) for _ in range(2))
        assert thinned.shape == (40, model.d_model)
        assert torch.equal(thinned, again)
    # Cache rows are rows of the whole, in its order.
    kept = stores.sources(model, max_points_bytes=bound).points(states(1), layer=None)
    places = [int((whole == row).all(1).nonzero()[0]) for row in kept]
    assert places == sorted(places)
    assert len(set(places)) == 40


def test_long_texts_are_cut(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT_TOKENS", 3)
    for source in (embedded(n=5), states(1, n=5)):
        assert len(stores.sources(small_model()).points(source, layer=None)) == 5 * 2


def test_small_batches_give_the_same_points(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stores.sources(small_model()).points(states(2), layer=None)
    monkeypatch.setattr(reading, "_BATCH_BYTES", 1)
    monkeypatch.setattr(reading, "MAX_TEXT_TOKENS", 10)
    parts = stores.sources(small_model()).points(states(2), layer=None)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_a_cloud_is_read_once_for_all_who_share_the_cache(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(max_bytes=1 << 20)
    first, second = (stores.sources(small_model(), cache=cache) for _ in range(2))
    cloud = first.points(states(1, n=5), layer=None)
    monkeypatch.setattr(Sources, "_read_dataset", lambda *_, **__: pytest.fail("read again"))
    assert second.points(states(1, n=5), layer=None) is cloud
    with pytest.raises(pytest.fail.Exception):
        second.points(states(1, n=6), layer=None)


def test_reading_can_be_stopped(stores: Stores) -> None:
    n_checks = 0

    def stop() -> None:
        nonlocal n_checks
        n_checks += 1
        if n_checks == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stores.sources(small_model(), check=stop).points(states(1), layer=None)


def test_a_texts_states_are_its_own_tokens(stores: Stores) -> None:
    sources = stores.sources(small_model())
    found = sources.text_states("t5 t9 t5", layer=2)
    np.testing.assert_allclose(found.numpy(), plain_states("t5 t9 t5", 2).numpy(), atol=1e-5)
    weight = plain_model().get_input_embeddings().weight
    assert torch.equal(sources.text_states("t5 t9", layer=None), weight[torch.tensor(ids_of("t5 t9")[1:])])
    with pytest.raises(InvalidRequest, match="no tokens"):
        sources.text_states("  ", layer=None)


def test_states_that_are_not_finite_are_refused(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sources, "_vocabulary", lambda self: torch.full((3, 2), torch.inf))
    with pytest.raises(EngineFault, match="NaN or infinite"):
        stores.sources(small_model()).points(VOCABULARY, layer=None)


def test_prompts_must_be_of_this_model_and_its_weights(stores: Stores) -> None:
    model = small_model()
    tensors = {"soft": torch.ones(3, model.d_model)}
    stores.put_prompt("own", "soft", tensors, model=model)
    stores.put_prompt("other", "soft", tensors, model=model, revision="sha256:" + "0" * 64)
    sources = stores.sources(model)
    prompt = sources.prompt("own@1")
    assert (prompt.kind, prompt.n_virtual) == ("soft", 3)
    assert torch.equal(prompt.tensors["soft"], tensors["soft"])
    with pytest.raises(InvalidRequest, match="'other' is for revision sha256:0000"):
        sources.prompt("other")
    with pytest.raises(NotFound):
        sources.prompt("none")


def test_the_first_token_is_no_point_if_it_is_a_sink(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    model = without_begin()
    sources = stores.sources(model)
    example = next(iter(stores.datasets.examples("lines", split="train", n=1, seed=0)))
    usual = sources._read.example(example)
    monkeypatch.setattr(model, "first_token_is_sink", True)
    found = sources._read.example(example)
    assert found.ids == usual.ids
    assert (usual.own[0], found.own) == (True, (False, *usual.own[1:]))
