from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from promptatlas.types.forms import PromptKind as Kind

from service.engine.inputs import PromptChoice
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.native_format import make_posterior, make_prompt
from tests.service.api.conftest import DEMO, World


def put(
    world: World, name: str, *, n: int = 2, seed: int = 0, kind: Kind = "soft", base: BaseShape = DEMO
) -> PromptManifest:
    values = np.random.default_rng(seed).normal(size=(n, base.d_model)).astype(np.float32)
    tensors = {"soft": values} if kind == "soft" else {"deep.1": values}
    return world.services.prompts.create(name, prompt=make_prompt(kind, tensors=tensors, base=base))[0]


def complete(world: World, **fields: Any) -> Any:
    return world.client.post("/v1/completions", json={"model": "demo", "prompt": "x", **fields})


def chosen(world: World) -> PromptChoice | None:
    return world.end.submitted[-1].request.prompt


def test_no_reference_is_the_bare_model(world: World) -> None:
    complete(world)
    assert chosen(world) is None
    complete(world, prompt_ref=None)
    assert chosen(world) is None


def test_references_are_resolved_to_content(world: World) -> None:
    first, second = put(world, "qa", seed=1), put(world, "qa", seed=2)
    world.services.prompts.set_alias("qa", alias="live", version=1)
    for ref, manifest in [("qa", second), ("qa@1", first), ("qa@live", first), (second.sha256, second)]:
        for fields in ({"prompt_ref": ref}, {"model": f"demo:{ref}"}):
            assert complete(world, **fields).status_code == 200
            assert chosen(world) == PromptChoice(parts=((manifest.sha256, 1.0),))


def test_the_models_name_comes_back_as_it_was_asked(world: World) -> None:
    put(world, "qa")
    assert complete(world, model="demo:qa").json()["model"] == "demo:qa"


def test_a_mix_is_its_parts_with_weights(world: World) -> None:
    first, second = put(world, "a", seed=1), put(world, "b", seed=2)
    mix = {"mix": [{"ref": "a", "weight": 0.25}, {"ref": "b@1", "weight": -1.5}]}
    assert complete(world, prompt_ref=mix).status_code == 200
    assert chosen(world) == PromptChoice(parts=((first.sha256, 0.25), (second.sha256, -1.5)))


def test_a_concatenation_is_its_parts_in_order(world: World) -> None:
    first, second = put(world, "a", n=2, seed=1), put(world, "b", n=3, seed=2)
    concat = {"concat": ["b", "a@1", "b@1"]}
    assert complete(world, prompt_ref=concat).status_code == 200
    parts = tuple((manifest.sha256, 1.0) for manifest in (second, first, second))
    assert chosen(world) == PromptChoice(parts=parts, is_concat=True)
    capture = {"model": "demo", "inputs": ["x"], "sites": ["embed"]}
    assert world.client.post("/v1/activations", json={**capture, "prompt_ref": concat}).status_code == 200
    assert world.end.submitted[-1].metadata["prompt"] == {
        "ref": concat,
        "kind": "soft",
        "n_virtual": 8,
        "parts": [{"ref": manifest.sha256, "weight": 1.0} for manifest in (second, first, second)],
    }


def test_a_chat_without_a_limit_fills_what_a_concatenation_leaves(world: World) -> None:
    put(world, "a", n=20)
    body = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "prompt_ref": {"concat": ["a", "a"]}}
    assert world.client.post("/v1/chat/completions", json=body).status_code == 200
    assert world.end.submitted[-1].n_context == DEMO.n_positions - 40


@pytest.mark.parametrize(
    ("refs", "status", "says"),
    [
        (["qa", "none"], 404, "none"),
        (["qa", "deep"], 422, "'qa' is soft, n_virtual 2, 'deep' is deep local, layers [1], n_virtual 2"),
        (["deep", "other-layer"], 422, "one kind and the same layers"),
        (["steering", "steering"], 422, "'steering' is a steering prompt, which has no virtual positions"),
        (["qa", "steering"], 422, "no virtual positions"),
        (["qa", "posterior"], 422, "posterior"),
        (["half", "half"], 422, "64 positions of the model, got 64"),
        (["qa"], 422, "at least 2"),
    ],
)
def test_prompts_that_cannot_follow_one_another(world: World, refs: list[str], status: int, says: str) -> None:
    put(world, "qa")
    put(world, "deep", kind="deep")
    put(world, "half", n=32)
    shelf, ones = world.services.prompts, np.ones((2, DEMO.d_model), np.float32)
    shelf.create("other-layer", prompt=make_prompt("deep", tensors={"deep.0": ones}, base=DEMO))
    shelf.create("steering", prompt=make_prompt("steering", tensors={"steering.1": ones[0]}, base=DEMO))
    shelf.create("posterior", prompt=make_posterior("soft", tensors={"soft": np.stack([ones, ones])}, base=DEMO))
    answer = complete(world, prompt_ref={"concat": refs})
    assert answer.status_code == status
    assert answer.json()["error"]["param"].startswith("prompt_ref")
    assert says in answer.json()["error"]["message"]
    assert world.end.submitted == []


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nope"}, 404, "model"),
        ({"model": "demo:none"}, 404, "model"),
        ({"model": "demo:Bad Ref"}, 422, "model"),
        ({"prompt_ref": "none"}, 404, "prompt_ref"),
        ({"prompt_ref": "qa@9"}, 404, "prompt_ref"),
        ({"prompt_ref": "qa@live"}, 404, "prompt_ref"),
        ({"prompt_ref": f"sha256:{'0' * 64}"}, 404, "prompt_ref"),
        ({"model": "demo:qa", "prompt_ref": "qa"}, 422, "prompt_ref"),
        ({"model": "other", "prompt_ref": "qa"}, 422, "prompt_ref"),
        ({"prompt_ref": "old"}, 422, "prompt_ref"),
        ({"prompt_ref": {"mix": [{"ref": "qa", "weight": 1}, {"ref": "long", "weight": 1}]}}, 422, "prompt_ref.mix"),
        ({"prompt_ref": {"mix": [{"ref": "qa", "weight": 1}, {"ref": "deep", "weight": 1}]}}, 422, "prompt_ref.mix"),
    ],
)
def test_what_cannot_be_chosen(world: World, fields: dict[str, Any], status: int, param: str) -> None:
    put(world, "qa")
    put(world, "long", n=3)
    put(world, "deep", kind="deep")
    put(world, "old", base=BaseShape(**{**DEMO.__dict__, "revision": "rev-before"}))
    answer = complete(world, **fields)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    assert world.end.submitted == []


def test_a_result_says_under_which_prompt_it_was_made(world: World) -> None:
    manifest = put(world, "qa", n=3)
    capture = {"model": "demo", "inputs": ["x"], "sites": ["embed"]}
    world.client.post("/v1/activations", json={**capture, "prompt_ref": "qa"})
    mix = {"mix": [{"ref": "qa", "weight": 0.5}]}
    world.client.post("/v1/activations", json={**capture, "prompt_ref": mix})
    single, mixed = (job.metadata["prompt"] for job in world.end.submitted)
    assert single == {"ref": "qa", "sha256": manifest.sha256, "kind": "soft", "n_virtual": 3}
    assert mixed == {
        "ref": mix,
        "kind": "soft",
        "n_virtual": 3,
        "parts": [{"ref": manifest.sha256, "weight": 0.5}],
    }
