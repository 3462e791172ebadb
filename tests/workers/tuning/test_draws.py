"""Initial tensors of prompts, for every kind of prior and every method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from promptatlas.types.prior_sources import ActivationsSource, EmbeddingsSource, LayerPoints
from promptatlas.types.priors import PRIOR_TYPES
from scipy import stats

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.prompts.registry import check_fit, compile_prompt
from service.errors import InvalidRequest
from tests.oracle.models import build_model
from tests.workers.priors.clouds import seeded
from tests.workers.priors.small_world import Stores, method, prior, small_model
from workers.priors.distributions.random_streams import generator_for
from workers.priors.kinds import gaussian
from workers.priors.kinds.registry import FITTERS, build_prior
from workers.priors.prior import NoDensity, Space
from workers.priors.sources.sources import Sources
from workers.tuning.draws import draw, log_prob_of, priors_of
from workers.tuning.training.forms.registry import TRAINING_FORMS

N = 4
WORDS = {"activations": {"dataset": "words"}}
OCCURRING = {"embeddings": {"dataset": "words", "n": 20}}
VOCABULARY = {"embeddings": "vocabulary"}
SMALL_VAE = {"d_latent": 2, "d_hidden": 8, "epochs": 2}
SPECS: dict[str, dict[str, Any]] = {
    "isotropic": {"std": 0.5},
    "xavier": {},
    "vocabulary": {},
    "text": {"text": "t5 t9 t7"},
    "gaussian": {"fit": WORDS, "scale": 2.0},
    "exclusion": {"fit": VOCABULARY, "c": 3.0},
    "interpolation": {"from": {"kind": "gaussian", "fit": WORDS}, "to": {"kind": "vocabulary"}},
    "knn": {"fit": OCCURRING, "k": 3, "candidates": 4},
    "vae": {"fit": WORDS, **SMALL_VAE},
    "posterior": {"prompts": ["tuned"], "fit": "mixture", "components": 2},
    "prompt": {"ref": "tuned"},
}
SOFT = method(kind="soft", n_virtual=N)
DEEP = method(kind="deep", n_virtual=N, layers=[-1, 1])
PREFIX = method(kind="prefix", n_virtual=N)
STEERING = method(kind="steering", layers=[-1, 1])
METHODS = {"soft": SOFT, "deep": DEEP, "prefix": PREFIX, "steering": STEERING}
TENSORS = {
    "soft": {"soft"},
    "deep": {"deep.1", "deep.2"},
    "prefix": {"prefix"},
    "steering": {"steering.1", "steering.2"},
}


@pytest.fixture(scope="module")
def model() -> HostedModel:
    return small_model()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, model: HostedModel) -> Stores:
    stores = Stores.under(tmp_path_factory.mktemp("home"))
    d = model.d_model
    stores.put_prompt("tuned", "soft", {"soft": torch.randn(N, d, generator=seeded(0))}, model=model)
    layers = {f"deep.{layer}": torch.randn(N, d, generator=seeded(layer)) for layer in (1, 2)}
    stores.put_prompt("tuned-deep", "deep", layers, model=model, where="local")
    values = torch.randn(3, 2, model.card.n_kv_heads, N, model.card.d_head, generator=seeded(0))
    stores.put_prompt("tuned-prefix", "prefix", {"prefix": values}, model=model)
    for seed, name in enumerate(("tuned-steering", "other-steering")):
        steering = {f"steering.{layer}": torch.randn(d, generator=seeded(10 * seed + layer)) for layer in (1, 2)}
        stores.put_prompt(name, "steering", steering, model=model)
    return stores


@pytest.fixture(scope="module")
def sources(stores: Stores, model: HostedModel) -> Sources:
    return stores.sources(model)


def test_every_kind_on_the_wire_is_registered() -> None:
    assert set(FITTERS) == set(PRIOR_TYPES) == {type(prior(kind=kind, **fields)) for kind, fields in SPECS.items()}
    assert len(FITTERS) == len(SPECS)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("wanted", METHODS)
def test_a_draw_fits_the_model_and_is_reproducible(
    kind: str, wanted: str, model: HostedModel, sources: Sources, stores: Stores
) -> None:
    chosen = METHODS[wanted]
    fields = dict(SPECS[kind])
    if kind == "prompt" and wanted != "soft":
        fields["ref"] = f"tuned-{wanted}"
    if kind == "posterior" and wanted in ("deep", "steering"):
        fields["prompts"] = {"deep": ["tuned-deep"], "steering": ["tuned-steering", "other-steering"]}[wanted]
    spec = prior(kind=kind, **fields)
    drawn = draw(chosen, spec, seed=3, model=model, sources=sources)
    assert set(drawn) == TENSORS[wanted]
    prompt = from_tensors(drawn, where="local")
    check_fit(model, prompt)
    assert prompt.n_virtual == (0 if wanted == "steering" else N)
    assert all(t.dtype == torch.float32 and t.is_contiguous() and bool(t.isfinite().all()) for t in drawn.values())
    # New sources have no cached fits.
    again = draw(chosen, spec, seed=3, model=model, sources=stores.sources(model))
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    other = draw(chosen, spec, seed=4, model=model, sources=sources)
    assert all(torch.equal(drawn[name], other[name]) == (kind in ("text", "prompt")) for name in drawn)


@pytest.mark.parametrize("kind", ["gaussian", "isotropic", "knn"])
def test_adding_a_layer_does_not_change_the_others(kind: str, model: HostedModel, sources: Sources) -> None:
    spec = prior(kind=kind, **SPECS[kind])
    few = draw(method(kind="deep", n_virtual=N, layers=[2]), spec, seed=3, model=model, sources=sources)
    more = draw(method(kind="deep", n_virtual=N, layers=[0, 2, -1]), spec, seed=3, model=model, sources=sources)
    assert set(more) == {"deep.0", "deep.2"}
    assert torch.equal(few["deep.2"], more["deep.2"])
    assert not torch.equal(more["deep.0"], more["deep.2"])


def test_fewer_vectors_are_a_prefix_of_more(model: HostedModel, sources: Sources) -> None:
    spec = prior(kind="gaussian", **SPECS["gaussian"])
    few, more = (
        draw(method(kind="soft", n_virtual=n), spec, seed=3, model=model, sources=sources)["soft"] for n in (3, 9)
    )
    torch.testing.assert_close(few, more[:3])


def test_each_layer_is_fitted_to_its_own_states(model: HostedModel, sources: Sources) -> None:
    spec = prior(kind="gaussian", fit=WORDS)
    fitted = priors_of(DEEP, spec, model=model, sources=sources)
    for layer in (1, 2):
        cloud = sources.points(ActivationsSource(activations=LayerPoints(dataset="words")), layer=layer)
        drawn = fitted[f"deep.{layer}"].sample(4000, generator=seeded(0))
        tolerance = 5 * float(cloud.std()) / 4000**0.5
        np.testing.assert_allclose(drawn.mean(0).numpy(), cloud.mean(0).numpy(), atol=3 * tolerance)


def test_a_prefix_drawn_as_vectors_equals_compiled_soft_vectors(model: HostedModel, sources: Sources) -> None:
    spec = prior(kind="vocabulary")
    soft = draw(SOFT, spec, seed=3, model=model, sources=sources)
    prefix = draw(PREFIX, spec, seed=3, model=model, sources=sources)["prefix"]
    compiled = compile_prompt(model, Prompt("soft", soft))
    for layer, (key, value) in enumerate(zip(compiled.keys, compiled.values, strict=True)):
        assert key is not None
        assert value is not None
        torch.testing.assert_close(prefix[layer, 0], key, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(prefix[layer, 1], value, atol=1e-6, rtol=1e-6)


def test_a_prefix_from_a_text_has_the_keys_and_values_of_the_text(model: HostedModel, sources: Sources) -> None:
    """Those that plain transformers keeps in its cache."""
    spec = prior(kind="text", text="t5 t9 t7 t4")
    prefix = draw(PREFIX, spec, seed=0, model=model, sources=sources)["prefix"]
    with torch.no_grad():
        cache = build_model("llama")(input_ids=torch.tensor([[5, 9, 7, 4]]), use_cache=True).past_key_values
    assert len(cache.layers) == len(prefix)
    for layer, kept in enumerate(cache.layers):
        torch.testing.assert_close(prefix[layer, 0], kept.keys[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(prefix[layer, 1], kept.values[0], atol=1e-5, rtol=1e-5)


def test_a_prefix_drawn_directly_has_the_standard_deviation_of_its_prior(model: HostedModel, sources: Sources) -> None:
    card = model.card
    wide = method(kind="prefix", n_virtual=200)
    values = draw(wide, prior(kind="isotropic", std=0.5), seed=0, model=model, sources=sources)["prefix"]
    assert values.shape == (3, 2, card.n_kv_heads, 200, card.d_head)
    assert float(values.std()) == pytest.approx(0.5, rel=0.02)
    bound = (6 / (200 + card.n_kv_heads * card.d_head)) ** 0.5
    even = draw(wide, prior(kind="xavier"), seed=0, model=model, sources=sources)["prefix"]
    assert 0.99 * bound < float(even.abs().max()) <= bound * (1 + 1e-6)
    # Layers, and keys and values, are drawn independently.
    flat = values.flatten(2).flatten(0, 1)
    assert len({tuple(row[:3].tolist()) for row in flat}) == 6


def test_xavier_counts_the_vectors(model: HostedModel, sources: Sources) -> None:
    fitted = priors_of(SOFT, prior(kind="xavier"), model=model, sources=sources)["soft"]
    assert fitted.facts["bound"] == pytest.approx((6 / (N + model.d_model)) ** 0.5)


def test_a_text_is_repeated_or_truncated(model: HostedModel, sources: Sources) -> None:
    spec = prior(kind="text", text="t5 t9 t7")
    drawn = draw(method(kind="soft", n_virtual=7), spec, seed=0, model=model, sources=sources)["soft"]
    assert torch.equal(drawn[:3], drawn[3:6])
    assert torch.equal(drawn[6], drawn[0])
    assert len({tuple(row.tolist()) for row in drawn}) == 3


def test_vocabulary_draws_are_rows_of_the_vocabulary(model: HostedModel, sources: Sources) -> None:
    vocabulary = sources.points(EmbeddingsSource(embeddings="vocabulary"), layer=None)
    rows = {tuple(row.tolist()) for row in vocabulary}
    drawn = draw(method(kind="soft", n_virtual=200), prior(kind="vocabulary"), seed=0, model=model, sources=sources)
    found = {tuple(row.tolist()) for row in drawn["soft"]}
    assert found <= rows
    assert len(found) > 60


@pytest.mark.parametrize(
    ("chosen", "ref", "message"),
    [
        (method(kind="soft", n_virtual=5), "tuned", "expected soft with 5 vectors, got soft with 4 vectors"),
        (SOFT, "tuned-deep", r"expected soft with 4 vectors, got deep local at layers \[1, 2\] with 4 vectors"),
        (method(kind="deep", n_virtual=N, layers=[1]), "tuned-deep", r"expected deep local at layers \[1\] with"),
        (method(kind="deep", n_virtual=N, layers=[1, 2], where="carried"), "tuned-deep", "expected deep carried"),
    ],
)
def test_a_prompt_prior_of_another_form_is_refused(
    chosen: Any, ref: str, message: str, model: HostedModel, sources: Sources
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        draw(chosen, prior(kind="prompt", ref=ref), seed=0, model=model, sources=sources)


def test_a_prompt_prior_returns_the_tensors_of_its_prompt(model: HostedModel, sources: Sources) -> None:
    own = sources.prompt("tuned-prefix").tensors["prefix"]
    drawn = draw(PREFIX, prior(kind="prompt", ref="tuned-prefix"), seed=0, model=model, sources=sources)
    assert torch.equal(drawn["prefix"], own)
    fitted = priors_of(PREFIX, prior(kind="prompt", ref="tuned-prefix"), model=model, sources=sources)
    with pytest.raises(NoDensity):
        log_prob_of(fitted, drawn)


@pytest.mark.parametrize("kind", ["isotropic", "gaussian", "exclusion", "vae", "posterior"])
def test_the_penalty_is_the_sum_over_all_vectors_and_reaches_the_tensors(
    kind: str, model: HostedModel, sources: Sources
) -> None:
    fields = {**SPECS[kind], **({"prompts": ["tuned-deep"]} if kind == "posterior" else {})}
    if kind == "vae":
        fields["fit"] = VOCABULARY
    spec = prior(kind=kind, **fields)
    fitted = priors_of(DEEP, spec, model=model, sources=sources)
    tensors = {name: t.requires_grad_() for name, t in draw(DEEP, spec, seed=0, model=model, sources=sources).items()}
    total = log_prob_of(fitted, tensors)
    expected = sum(float(fitted[name].map_log_prob(t.detach()).sum()) for name, t in tensors.items())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-9)
    total.backward()  # type: ignore[no-untyped-call]
    for tensor in tensors.values():
        assert tensor.grad is not None
        assert tensor.grad.dtype == torch.float32
        assert bool((tensor.grad.abs().sum(1) > 0).all())


def test_the_penalty_of_a_prefix_counts_every_key_and_value_once(model: HostedModel, sources: Sources) -> None:
    spec = prior(kind="isotropic", std=0.5)
    prefix = draw(PREFIX, spec, seed=0, model=model, sources=sources)["prefix"]
    found = log_prob_of(priors_of(PREFIX, spec, model=model, sources=sources), {"prefix": prefix})
    expected = stats.norm.logpdf(prefix.double().numpy(), scale=0.5).sum()
    assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_a_vector_of_a_prefix_has_all_heads_of_one_position(model: HostedModel, sources: Sources) -> None:
    """The prior draws all heads of one position as one vector, so ``as_vectors`` must give these vectors back."""
    spec = prior(kind="isotropic", std=0.5)
    prefix = draw(PREFIX, spec, seed=0, model=model, sources=sources)["prefix"]
    direct = priors_of(PREFIX, spec, model=model, sources=sources)["prefix"]
    vectors = TRAINING_FORMS["prefix"].as_vectors(prefix).view(3, 2, N, -1)
    assert torch.equal(vectors[1, 1], direct.sample(N, generator=generator_for(0, "prefix.1.v")))


@pytest.mark.parametrize("kind", ["xavier", "vocabulary", "text", "interpolation", "knn", "prompt"])
def test_priors_without_a_density_are_refused_as_penalties(kind: str, model: HostedModel, sources: Sources) -> None:
    spec = prior(kind=kind, **SPECS[kind])
    tensors = draw(SOFT, spec, seed=0, model=model, sources=sources)
    with pytest.raises(NoDensity, match=f"'{kind}' cannot act as a penalty"):
        log_prob_of(priors_of(SOFT, spec, model=model, sources=sources), tensors)


# Without the autoencoder: the estimate of its density is not offered as a penalty.
@pytest.mark.parametrize("kind", sorted(set(SPECS) - {"vae"}))
@pytest.mark.parametrize("wanted", ["soft", "prefix"])
def test_priors_that_can_regularize_have_a_gradient(
    kind: str, wanted: str, model: HostedModel, sources: Sources
) -> None:
    fields = {**SPECS[kind], **({"ref": "tuned-prefix"} if kind == "prompt" and wanted == "prefix" else {})}
    spec, chosen = prior(kind=kind, **fields), {"soft": SOFT, "prefix": PREFIX}[wanted]
    can_regularize = type(spec).can_regularize and (wanted == "soft" or type(spec).draws_prefix_directly)
    tensors = {name: t.requires_grad_() for name, t in draw(chosen, spec, seed=0, model=model, sources=sources).items()}
    fitted = priors_of(chosen, spec, model=model, sources=sources)
    if can_regularize:
        log_prob_of(fitted, tensors).backward()  # type: ignore[no-untyped-call]
        assert all(t.grad is not None and float(t.grad.abs().sum()) > 0 for t in tensors.values())
    else:
        with pytest.raises(NoDensity):
            log_prob_of(fitted, tensors)


def test_a_compiled_prefix_has_no_penalty(model: HostedModel, sources: Sources) -> None:
    spec = prior(kind="gaussian", **SPECS["gaussian"])
    tensors = draw(PREFIX, spec, seed=0, model=model, sources=sources)
    with pytest.raises(NoDensity, match="acts on soft, not on prefix"):
        log_prob_of(priors_of(PREFIX, spec, model=model, sources=sources), tensors)


def test_a_prior_is_fitted_once(model: HostedModel, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = stores.sources(model)
    space = Space(d_model=model.d_model, n_virtual=N, layer=1)
    spec = prior(kind="gaussian", **SPECS["gaussian"])
    first = build_prior(spec, space=space, sources=sources)
    monkeypatch.setattr(gaussian, "measure", lambda *_, **__: pytest.fail("fitted again"))
    assert build_prior(spec, space=space, sources=sources) is first
    with pytest.raises(pytest.fail.Exception):
        build_prior(prior(kind="gaussian", fit=WORDS, scale=3.0), space=space, sources=sources)


def test_fewer_points_than_neighbours_are_refused(model: HostedModel, sources: Sources) -> None:
    with pytest.raises(InvalidRequest, match=r"different points; k = 400 needs more"):
        draw(SOFT, prior(kind="knn", fit=OCCURRING, k=400), seed=0, model=model, sources=sources)
