"""A steering prompt through a whole service: tuned by a worker, served by name, mixed, taken elsewhere, drawn on a map."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.numpy import load
from transformers import AutoModelForCausalLM, AutoTokenizer

from service.queueing.embedded_redis import find_server
from service.settings import default_model_path
from tests.integration.running import Service, running_service
from tests.integration.test_maps import finished

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

LAYERS = [1, 3]
TUNE: dict[str, Any] = {
    "model": "demo",
    "dataset": "demo-qa",
    "method": {"kind": "steering", "layers": LAYERS},
    "priors": [{"kind": "gaussian", "fit": {"activations": {"dataset": "demo-qa", "n": 20}}}],
    "seeds": [0, 1],
    "optimizer": {"steps": 4, "batch_size": 2, "lr": 0.05},
    "eval": {"n": 2, "every": 2, "metrics": ["exact_match", "loss"], "samples": 100},
    "snapshots": 2,
    "name": "steer",
}
TEXT = "Mira went to the mill. Hugo is in the cave. Where is Mira?"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    model = default_model_path(cwd=Path.cwd())
    with running_service(tmp_path, models=f"demo={model}", WORKERS="1", DEVICE="cpu") as started:
        started.wait_until_ready()
        yield started


def test_from_tuning_to_a_map(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as http:
        refs = finished(http, service, "tune", TUNE)["prompts"]
        tensors = [load(http.get(_content(ref)).content) for ref in refs]
        assert set(tensors[0]) == {f"steering.{layer}" for layer in LAYERS}
        manifest = http.get(_content(refs[0]).removesuffix("/content")).json()
        assert (manifest["kind"], manifest["n_virtual"], manifest["layers"]) == ("steering", 0, LAYERS)
        _assert_states_are_those_of_transformers(http, refs, tensors)
        _assert_a_copy_is_the_same(http, refs[0])
        _assert_it_is_on_the_map(http, service, refs[0])
        refused = http.get(_content(refs[0]), params={"format": "peft"})
        assert (refused.status_code, "no form for a steering prompt" in refused.json()["detail"]) == (422, True)
        near = http.get(_content(refs[0]).replace("/content", "/nearest")).json()
        assert [(item["tensor"], item["index"]) for item in near["vectors"]] == [(f"steering.{i}", 0) for i in LAYERS]


def _content(ref: str) -> str:
    name, version = ref.split("@")
    return f"/v1/prompts/{name}/versions/{version}/content"


def _assert_states_are_those_of_transformers(http: httpx.Client, refs: list[str], tensors: list[Any]) -> None:
    path = default_model_path(cwd=Path.cwd())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    mixed = {"mix": [{"ref": refs[0], "weight": 0.3}, {"ref": refs[1], "weight": 0.7}]}
    blend = {name: 0.3 * tensors[0][name] + 0.7 * tensors[1][name] for name in tensors[0]}
    for ref, added in ((refs[0], tensors[0]), (mixed, blend), (None, {})):
        body = {"model": "demo", "inputs": [TEXT], "prompt_ref": ref, "sites": ["resid_post", "logits"], "layers": [3]}
        found = load(http.post("/v1/activations", json=body).content)
        expected = _plain(model, tokenizer(TEXT, return_tensors="pt").input_ids, added)
        np.testing.assert_allclose(found["resid_post.3"], expected[0], atol=1e-4)
        np.testing.assert_allclose(found["logits"], expected[1], atol=1e-4)


@torch.no_grad()
def _plain(model: Any, ids: Any, added: dict[str, Any]) -> tuple[Any, Any]:
    handles = []
    for name, vector in added.items():
        block = model.model.layers[int(name.partition(".")[2])]
        handles.append(block.register_forward_hook(partial(_plus, vector=torch.tensor(vector))))
    states: list[Any] = []
    handles.append(model.model.layers[3].register_forward_hook(lambda _m, _a, out: states.append(_tensor(out)[0])))
    logits = model(ids).logits[0]
    for handle in handles:
        handle.remove()
    return states[0].numpy(), logits.numpy()


def _tensor(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _plus(_module: Any, _args: Any, output: Any, *, vector: Any) -> Any:
    return (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector


def _assert_a_copy_is_the_same(http: httpx.Client, ref: str) -> None:
    content = http.get(_content(ref)).content
    stored = http.post(
        "/v1/prompts", params={"name": "copy"}, content=content, headers={"Content-Type": "application/vnd.safetensors"}
    )
    assert stored.status_code == 201, stored.text
    body = {"model": "demo", "prompt": TEXT, "temperature": 0, "max_tokens": 6}
    texts = [
        http.post("/v1/completions", json={**body, "prompt_ref": name}).json()["choices"][0]["text"]
        for name in (ref, "copy")
    ]
    assert texts[0] == texts[1]


def _assert_it_is_on_the_map(http: httpx.Client, service: Service, ref: str) -> None:
    steer = {"prompts": [ref], "snapshots": True, "name": "steer"}
    spec = {"model": "demo", "method": "pca", "layers": [2], "sources": [{"dataset": "demo-qa", "n": 8}, steer]}
    run = finished(http, service, "map", {**spec, "seed": 0})
    points = http.get(f"/v1/maps/{run['id']}").json()
    roles = [role for role, source in zip(points["role"], points["source"], strict=True) if source == "steer"]
    assert roles == ["draw", "snapshot", "snapshot", "posterior"]
    placed = http.post(f"/v1/maps/{run['id']}/project", json={"sources": [{"prompts": [ref]}]}).json()
    mapped = [
        (x, y) for x, y, source in zip(points["x"], points["y"], points["source"], strict=True) if source == "steer"
    ]
    np.testing.assert_allclose(mapped[-1], (placed["x"][-1], placed["y"][-1]), atol=1e-4)
    refused = http.post("/v1/runs", json={"kind": "map", "spec": {**spec, "layers": [1], "seed": 0}})
    assert refused.status_code == 422
    assert "at none of the map's layers" in refused.json()["detail"]
