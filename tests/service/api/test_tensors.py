from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from service.api.responses.tensors import wants_json
from service.engine.requests import Capture, CaptureSpec, Generate, Intervention, Slice
from service.hosting.ipc.messages import EstimateCost, Finished, Submit, Update
from tests.service.api.conftest import OpenWorld, World, tensors

CAPTURE = {"model": "demo", "inputs": ["hi", [3, 5]], "sites": ["resid_post"], "layers": [1, -1]}
URL = "/v1/activations"


def test_activations_come_as_safetensors_with_the_requests_metadata(world: World, tmp_path: Any) -> None:
    answer = world.client.post(URL, json=CAPTURE, headers={"X-Request-ID": "mine"})
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert load(answer.content)["resid_post.1"].shape == (2, 5)
    path = tmp_path / "result.safetensors"
    path.write_bytes(answer.content)
    with safe_open(path, "numpy") as file:
        metadata = json.loads(file.metadata()["promptatlas"])
    assert metadata == {
        "model": "demo",
        "revision": "rev-demo",
        "prompt": None,
        "dtype": "float32",
        "attention": "test",
        "versions": {"torch": "2"},
        "request_id": "mine",
    }


def test_the_engine_is_asked_for_just_what_was_wanted(world: World) -> None:
    world.client.post(
        URL,
        json={**CAPTURE, "positions": {"start": -2}, "include_virtual": True, "reduce": "norm", "dtype": "bfloat16"},
    )
    request = world.end.submitted[0].request
    assert isinstance(request, Capture)
    assert request.inputs == ("hi", (3, 5))
    assert request.capture == CaptureSpec(
        sites=("resid_post",),
        layers=(1, -1),
        positions=Slice(start=-2),
        include_virtual=True,
        reduce="norm",
        dtype="bfloat16",
    )


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", False),
        ("", False),
        ("application/json", True),
        ("Application/JSON; q=0.9, text/plain", True),
        ("application/vnd.safetensors, application/json", False),
        ("text/html", False),
    ],
)
def test_json_is_for_those_who_name_it(accept: str, expected: bool) -> None:
    assert wants_json(accept) is expected


def test_json_has_the_same_as_lists_and_null_for_what_is_no_number(open_world: OpenWorld) -> None:
    def answer(message: Submit | EstimateCost) -> Sequence[Update]:
        assert isinstance(message, Submit)
        found = {
            "resid_post.0": np.array([[1.5, -2.0]], np.float32),
            "logprobs": np.array([np.nan], np.float32),
            "row_offsets": np.array([0, 1]),
            "generated": np.array([True]),
        }
        return [Finished(result=tensors(found, {"model": "demo"}))]

    body = open_world(script=answer).client.post(URL, json=CAPTURE, headers={"Accept": "application/json"}).json()
    assert body == {
        "resid_post.0": [[1.5, -2.0]],
        "logprobs": [None],
        "row_offsets": [0, 1],
        "generated": [True],
        "promptatlas": {"model": "demo"},
    }


def test_json_over_the_limit_is_refused_and_says_how_to_shrink(open_world: OpenWorld) -> None:
    def answer(message: Submit | EstimateCost) -> Sequence[Update]:
        assert isinstance(message, Submit)
        return [Finished(result=tensors({"embed": np.full((100, 5), 1 / 3, np.float32)}, {}))]

    for limit in (1024, 2500):  # over it as safetensors already; only as text
        world = open_world(script=answer, max_json_bytes=limit)
        refused = world.client.post(URL, json=CAPTURE, headers={"Accept": "application/json"})
        assert refused.status_code == 413
        assert f"{limit:,}" in refused.json()["detail"]
        assert "safetensors" in refused.json()["detail"]


def test_an_estimate_runs_nothing(world: World) -> None:
    answer = world.client.post(f"{URL}/estimate", json=CAPTURE)
    assert answer.json() == {"n_tokens": 3, "bytes": 60, "seconds": 0.5}
    assert isinstance(world.end.received[0], EstimateCost)
    assert world.end.submitted == []


@pytest.mark.parametrize("url", [URL, f"{URL}/estimate", "/v1/trajectories"])
def test_an_unknown_map_is_not_found(world: World, url: str) -> None:
    answer = world.client.post(url, json={**CAPTURE, "reduce": {"project": "run-1"}})
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["loc"] == ["reduce", "project"]


def test_a_form_carries_the_tensors_of_interventions(world: World) -> None:
    values = save({"v": np.ones(5, np.float32)})
    add = {"site": "resid_post", "layers": [1], "op": "add", "value": "v", "strength": 2.0, "positions": "generated"}
    scale = {"site": "mlp_out", "op": "scale", "strength": 0.5}
    asked = {"model": "demo", "prompt": "x", "interventions": [add, scale]}
    for url, body in ((URL, {**CAPTURE, "interventions": [add, scale]}), ("/v1/completions", asked)):
        files: dict[str, Any] = {"request": (None, json.dumps(body), "application/json"), "tensors": ("t", values)}
        assert world.client.post(url, files=files).status_code == 200
    for job in world.end.submitted:
        assert (job.tensors, job.values) == (values, ("v", None))
        assert job.request.interventions == (
            Intervention(site="resid_post", layers=(1,), positions="generated", op="add", strength=2.0),
            Intervention(site="mlp_out", op="scale", strength=0.5),
        )


@pytest.mark.parametrize(
    "form", [{"tensors": ("t", b"")}, {"request": (None, "no json")}, {"request": ("r", b"{}"), "x": ("y", b"")}]
)
def test_a_bad_form_is_invalid(world: World, form: dict[str, Any]) -> None:
    assert world.client.post(URL, files=form).status_code == 422


def test_a_trajectory_is_a_generation_with_a_capture(world: World) -> None:
    answer = world.client.post(
        "/v1/trajectories",
        json={**CAPTURE, "n": 2, "max_tokens": 5, "temperature": 0, "stop": "z", "include_input": False},
    )
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    request = world.end.submitted[0].request
    assert isinstance(request, Generate)
    assert (request.n, request.max_tokens, request.stop, request.include_input) == (2, 5, ("z",), False)
    assert request.capture == CaptureSpec(sites=("resid_post",), layers=(1, -1))
