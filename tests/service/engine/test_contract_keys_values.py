"""Exported keys and values in a cache of transformers: the plain model gives the same logits as the engine and the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from service.engine.inputs import PromptChoice
from service.engine.requests import KeysValues, Limits
from service.errors import InvalidRequest, NotFound, TooLarge
from tests.oracle.models import N_LAYERS
from tests.oracle.prompts import deep
from tests.service.engine.contract import TEXTS, Case, World, assert_near, completion, serve

KINDS = ("soft", "soft-short", "prefix", "deep-everywhere", "deep-from-0")


def exported(world: World, kind: str, limits: Limits | None = None) -> dict[str, Tensor]:
    request = KeysValues(request_id="k", prompt=PromptChoice(parts=((kind, 1.0),)))
    return dict(world.engine(limits).keys_values(request).tensors)


@pytest.fixture(autouse=True)
def _deep_prompts(world_of: Any, request: pytest.FixtureRequest) -> None:
    """Deep prompts with virtual positions in every layer."""
    for fixture in ("world", "llama"):
        if fixture in request.fixturenames:
            world = request.getfixturevalue(fixture)
            layers = tuple(range(N_LAYERS))
            world.prompts["deep-everywhere"] = deep(world.model, layers=layers, where="local", n_virtual=4, seed=108)
            world.prompts["deep-from-0"] = deep(world.model, layers=(0, 2), where="carried", n_virtual=3, seed=109)


def cache_of(tensors: dict[str, Tensor]) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(N_LAYERS):
        cache.update(tensors[f"keys.{layer}"], tensors[f"values.{layer}"], layer)
    return cache


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_model_gives_the_same_logits(world: World, kind: str) -> None:
    tensors = exported(world, kind)
    n_virtual = world.prompts[kind].n_virtual
    assert sorted(tensors) == sorted(f"{name}.{i}" for name in ("keys", "values") for i in range(N_LAYERS))
    assert {tensor.shape[:1] + tensor.shape[2:3] for tensor in tensors.values()} == {(1, n_virtual)}
    for ids in (TEXTS[1], TEXTS[3]):
        found = world.model(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, n_virtual + len(ids), dtype=torch.long),
            past_key_values=cache_of(tensors),
        )
        assert_near(found.logits[0], world.text_states(kind, ids)["logits"], what="logits")


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_generate_continues_behind_the_cache(llama: World, kind: str) -> None:
    tensors = exported(llama, kind)
    n_virtual, case = llama.prompts[kind].n_virtual, Case(kind, TEXTS[1])
    # generate() takes the ids of the whole sequence; those that the cache covers are not read.
    ids = torch.tensor([[0] * n_virtual + list(case.ids)])
    found = llama.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        past_key_values=cache_of(tensors),
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=0,
    )
    answer = serve(llama.engine(), [replace(completion(case), max_tokens=6)])[case.request_id]
    assert found[0, ids.shape[1] :].tolist() == answer.token_ids()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("steering", "A steering prompt has no keys and values: it adds vectors to the states of the text"),
        ("deep-local", r"This deep prompt has virtual positions in some layers only \(none in layers 1\)"),
        ("deep-carried", r"none in layers 0"),
    ],
)
def test_prompts_that_no_cache_expresses_are_refused(llama: World, kind: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        exported(llama, kind)


def test_a_prompt_that_does_not_exist(llama: World) -> None:
    with pytest.raises(NotFound):
        exported(llama, "nothing")


def test_more_bytes_than_the_limit_are_refused(llama: World) -> None:
    with pytest.raises(TooLarge, match="keys and values have"):
        exported(llama, "soft", Limits(max_capture_bytes=1000))
