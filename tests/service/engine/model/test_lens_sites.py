"""TransformerLens' names against plain transformers: what is added to the residual stream, and the inputs of projections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Intervention
from service.errors import InvalidRequest
from tests.oracle.models import ARCHITECTURES, N_LAYERS, build_model, build_tokenizer
from tests.service.engine.small_engine import TEXT, capture, finish, result_of, with_limits

POST_NORM = ("gemma2", "gemma3", "olmo2")
PARALLEL = ("gpt_neox", "phi", "cohere")
PROJECTIONS = {
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "gpt_neox": ("attention.dense", "mlp.dense_4h_to_h"),
    "phi": ("self_attn.dense", "mlp.fc2"),
    "starcoder2": ("self_attn.o_proj", "mlp.c_proj"),
}
MIDDLE = {
    "gpt2": "ln_2",
    "gemma2": "pre_feedforward_layernorm",
    "gemma3": "pre_feedforward_layernorm",
    "olmo2": "mlp",
}
NAMES = ("llama", "gpt2", "gemma2", "gemma3", "olmo2", "gpt_neox", "cohere", "granite")


def hosted(name: str) -> HostedModel:
    return HostedModel("m", build_model(name), build_tokenizer(), revision="")


def read(name: str, sites: list[str]) -> Any:
    engine = with_limits(hosted(name))
    engine.submit(capture("c", sites=tuple(sites), layers="all"))
    return result_of(finish(engine)).tensors


def inputs_of(model: Any, paths: list[str]) -> dict[str, Tensor]:
    """The first argument of modules in one run of plain transformers, `[tokens, …]`."""
    found: dict[str, Tensor] = {}

    def note(path: str) -> Any:
        return lambda _, args: found.__setitem__(path, args[0][0].detach().clone())

    handles = [model.get_submodule(path).register_forward_pre_hook(note(path)) for path in paths]
    with torch.no_grad():
        model(torch.tensor([TEXT]))
    for handle in handles:
        handle.remove()
    return found


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.reshape(found.shape), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_tensors_of_blocks_have_transformer_lens_meaning(name: str) -> None:
    blocks, layer = ARCHITECTURES[name].parts.blocks, 1
    attention, mlp = PROJECTIONS.get(name, ("self_attn.o_proj", "mlp.down_proj"))
    wanted = ["resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_z", "mlp.hook_post"]
    if name not in PARALLEL:
        wanted.append("hook_resid_mid")
    found = read(name, [part if "hook" not in part else f"blocks.{layer}.{part}" for part in wanted])
    own = name in POST_NORM or name == "granite"
    attn_out, mlp_out = (
        f"blocks.{layer}.hook_{part}" if own else f"{part}.{layer}" for part in ("attn_out", "mlp_out")
    )
    before = found[f"resid_pre.{layer}"]
    assert_equal(before + found[attn_out] + found[mlp_out], found[f"resid_post.{layer}"])

    prefix = f"{blocks}.{layer}"
    middle = MIDDLE.get(name, "post_attention_layernorm")
    plain = inputs_of(
        build_model(name), [f"{prefix}.{path}" for path in (attention, mlp, middle)][: 2 + (name not in PARALLEL)]
    )
    assert found[f"blocks.{layer}.attn.hook_z"].shape[1] == 4
    assert_equal(found[f"blocks.{layer}.attn.hook_z"], plain[f"{prefix}.{attention}"])
    assert_equal(found[f"blocks.{layer}.mlp.hook_post"], plain[f"{prefix}.{mlp}"])
    if name not in PARALLEL:
        assert_equal(found[f"blocks.{layer}.hook_resid_mid"], plain[f"{prefix}.{middle}"])
        assert_equal(found[f"blocks.{layer}.hook_resid_mid"], before + found[attn_out])


def test_the_embedding_of_transformer_lens_has_the_factor_of_the_model() -> None:
    model = build_model("granite")
    assert model.config.embedding_multiplier != 1
    found = read("granite", ["hook_embed", "embed", "resid_pre"])
    assert_equal(found["embed"], model.get_input_embeddings()(torch.tensor(TEXT)))
    assert_equal(found["hook_embed"], found["embed"] * model.config.embedding_multiplier)
    assert_equal(found["hook_embed"], found["resid_pre.0"])
    assert "hook_embed" not in hosted("llama").catalogue.widths


@pytest.mark.parametrize("name", POST_NORM)
def test_own_names_are_the_modules_outputs_before_a_post_norm(name: str) -> None:
    found = read(name, ["attn_out", "blocks.1.hook_attn_out"])
    post_norm = build_model(name).get_submodule("model.layers.1.post_attention_layernorm")
    assert_equal(found["blocks.1.hook_attn_out"], post_norm(found["attn_out.1"]))
    assert (found["blocks.1.hook_attn_out"] - found["attn_out.1"]).abs().max() > 0.1


@pytest.mark.parametrize("name", [*NAMES, "phi", "starcoder2"])
def test_the_normalized_state_has_no_weight(name: str) -> None:
    found = read(name, ["ln_final.hook_normalized", "resid_post", "final_norm"])
    x = found[f"resid_post.{N_LAYERS - 1}"].double()
    norm = build_model(name).get_submodule(ARCHITECTURES[name].parts.norm)
    if name in ("gpt2", "gpt_neox", "phi", "cohere", "starcoder2"):
        x = x - x.mean(-1, keepdim=True)
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 0.0)
    assert_equal(found["ln_final.hook_normalized"], (x / (x.square().mean(-1, keepdim=True) + eps).sqrt()).float())
    assert (found["ln_final.hook_normalized"] - found["final_norm"]).abs().max() > 0.1


def test_parallel_blocks_have_no_state_between_attention_and_mlp() -> None:
    with pytest.raises(InvalidRequest, match="no module of this model has the tensor"):
        hosted("gpt_neox").catalogue.resolve(["blocks.0.hook_resid_mid"], [])


def test_a_change_of_what_a_post_norm_adds_changes_the_block() -> None:
    engine = with_limits(hosted("gemma2"))
    engine.submit(capture("a", sites=("resid_pre", "resid_post", "blocks.1.hook_mlp_out"), layers=(1,)))
    change = Intervention(site="blocks.1.hook_attn_out", op="scale", strength=0.0)
    engine.submit(
        capture("b", sites=("resid_pre", "resid_post", "blocks.1.hook_mlp_out"), layers=(1,), interventions=(change,))
    )
    events = finish(engine)
    found = result_of(events, "b").tensors
    assert_equal(found["resid_pre.1"] + found["blocks.1.hook_mlp_out"], found["resid_post.1"])
    assert (found["resid_post.1"] - result_of(events, "a").tensors["resid_post.1"]).abs().max() > 0.1


@pytest.mark.parametrize("site", ["ln_final.hook_normalized", "blocks.0.hook_resid_mid", "blocks.0.attn.hook_z"])
def test_a_tensor_that_is_computed_cannot_be_changed(site: str) -> None:
    engine = with_limits(hosted("llama"))
    with pytest.raises(InvalidRequest, match="can be read but not changed"):
        engine.submit(capture("a", interventions=(Intervention(site=site, op="scale", strength=0.0),)))
