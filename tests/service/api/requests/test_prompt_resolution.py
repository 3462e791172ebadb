from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from promptatlas.types.forms import PromptKind as Kind

from service.engine.inputs import PromptChoice
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.native_format import make_prompt
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
