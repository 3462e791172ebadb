"""The oracle against transformers' generate(), and against itself for equivalent prompts of different kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from tests.oracle.models import ARCHITECTURES, N_LAYERS, N_VOCAB, WINDOW, Parts, build_model, build_tokenizer
from tests.oracle.prompts import OraclePrompt, deep, prefix, soft
from tests.oracle.runs import oracle_generate, oracle_states

TEXT = [5, 9, 33, 60, 2, 8, 77, 90, 4, 41, 3]


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def subject(request: pytest.FixtureRequest) -> tuple[Any, Parts]:
    return build_model(request.param), ARCHITECTURES[request.param].parts


def text_part(states: dict[str, Tensor], prompt: OraclePrompt | None) -> dict[str, Tensor]:
    n = prompt.n_virtual if prompt is not None and prompt.kind != "prefix" else 0
    return {name: tensor[n:] for name, tensor in states.items()}


def test_bare_tokens_are_those_of_generate(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    expected = model.generate(torch.tensor([TEXT]), max_new_tokens=8, do_sample=False)[0, len(TEXT) :]
    assert oracle_generate(model, parts, TEXT, None, 8).token_ids == expected.tolist()


def test_greedy_tokens_vary(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    runs = [oracle_generate(model, parts, TEXT, soft(model, n_virtual=3, seed=seed), 8).token_ids for seed in range(4)]
    assert len({tuple(run) for run in runs}) > 1
    assert len({token_id for run in runs for token_id in run}) > 4


def test_a_carried_prompt_at_layer_0_is_a_soft_prompt(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    prompt = soft(model, n_virtual=4, seed=1)
    expected = oracle_states(model, parts, TEXT, prompt)
    entering = expected["resid_pre.0"][:4]
    carried = OraclePrompt("deep", {"deep.0": entering}, "carried")
    torch.testing.assert_close(oracle_states(model, parts, TEXT, carried)["logits"], expected["logits"])


def test_a_local_prompt_with_a_soft_prompts_states_everywhere_is_that_prompt(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    expected = oracle_states(model, parts, TEXT, soft(model, n_virtual=4, seed=1))
    tensors = {f"deep.{layer}": expected[f"resid_pre.{layer}"][:4] for layer in range(N_LAYERS)}
    local = oracle_states(model, parts, TEXT, OraclePrompt("deep", tensors, "local"))
    torch.testing.assert_close(local["logits"], expected["logits"])


def test_a_prefix_of_a_soft_prompts_keys_and_values_is_that_prompt(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    prompt = soft(model, n_virtual=WINDOW + 2, seed=1)
    cache = DynamicCache()
    model(inputs_embeds=prompt.tensors["soft"][None], past_key_values=cache, use_cache=True)
    stacked = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])
    expected = text_part(oracle_states(model, parts, TEXT, prompt), prompt)
    found = oracle_states(model, parts, TEXT, OraclePrompt("prefix", {"prefix": stacked}))
    for name in ("resid_post.0", "resid_post.2", "logits", "attn_probs.0"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("where", "layers"), [("local", (1,)), ("carried", (1,)), ("local", (0, 2))])
def test_text_attends_to_deep_prompts_only_in_their_layers(subject: tuple[Any, Parts], where: Any, layers: Any) -> None:
    model, parts = subject
    prompt = deep(model, layers=layers, where=where, n_virtual=3, seed=5)
    bare = oracle_states(model, parts, TEXT, None)
    states = text_part(oracle_states(model, parts, TEXT, prompt), prompt)
    for layer in range(N_LAYERS):
        weight = states[f"attn_probs.{layer}"][:, :, :3].sum()
        assert (weight > 0.1) == prompt.is_visible(layer)
    assert (states["logits"] - bare["logits"]).abs().max() > 0.01


def test_attention_windows_are_those_of_the_configuration(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    kinds = getattr(model.config, "layer_types", None)
    window = getattr(model.config, "sliding_window", None) or 10**6
    prompt = prefix(model, n_virtual=4, seed=3)
    states = oracle_states(model, parts, TEXT, prompt)
    rows = 4 + torch.arange(len(TEXT))[:, None] - torch.arange(4 + len(TEXT))[None]
    for layer in range(N_LAYERS):
        slides = kinds is None or kinds[layer] == "sliding_attention"
        seen = (rows >= 0) & (rows < (window if slides else 10**6))
        assert torch.equal((states[f"attn_probs.{layer}"] > 0).any(dim=1), seen)


def test_edits_change_the_text_and_what_follows(subject: tuple[Any, Parts]) -> None:
    model, parts = subject
    prompt = soft(model, n_virtual=3, seed=1)
    plain = oracle_states(model, parts, TEXT, prompt)
    edited = oracle_states(model, parts, TEXT, prompt, edits={1: lambda hidden, _: hidden + 1})
    assert torch.equal(edited["resid_post.0"], plain["resid_post.0"])
    torch.testing.assert_close(edited["resid_pre.2"][3:], plain["resid_post.1"][3:] + 1)
    assert torch.equal(edited["resid_pre.2"][:3], plain["resid_post.1"][:3])


def test_the_tokenizer_has_a_word_for_every_id() -> None:
    tokenizer = build_tokenizer()
    text = " ".join(f"t{i}" for i in range(2, N_VOCAB))
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == list(range(2, N_VOCAB))
