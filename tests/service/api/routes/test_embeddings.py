from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.engine.requests import Capture, CaptureSpec, Failed
from service.errors import InvalidRequest
from service.hosting.ipc.messages import CallTokenizer, EstimateCost, Finished, Submit, Update
from tests.service.api.conftest import OpenWorld, World, tensors

URL = "/v1/embeddings"


def vectors(message: Submit | EstimateCost) -> Sequence[Update]:
    """Row i of the result is i, i + 0.5, i + 1."""
    n = len(message.request.inputs)
    rows = np.arange(n, dtype=np.float32)[:, None] + np.array([0, 0.5, 1], np.float32)
    offsets = np.arange(n + 1, dtype=np.int64)
    return [Finished(result=tensors({"final_norm": rows, "row_offsets": offsets}, {}))]


@pytest.fixture
def client(open_world: OpenWorld) -> Any:
    return open_world(script=vectors).client


def test_the_response_has_openais_shape(client: Any) -> None:
    body = client.post(URL, json={"model": "demo", "input": ["abc", "de"], "user": "u", "dimensions": None}).json()
    assert body == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0, 0.5, 1]},
            {"object": "embedding", "index": 1, "embedding": [1, 1.5, 2]},
        ],
        "model": "demo",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def test_base64_is_little_endian_float32(client: Any) -> None:
    body = client.post(URL, json={"model": "demo", "input": [[1, 2], [3]], "encoding_format": "base64"}).json()
    decoded = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4").tolist() for one in body["data"]]
    assert decoded == [[0, 0.5, 1], [1, 1.5, 2]]
    assert body["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, CaptureSpec(sites=("final_norm",), reduce="mean")),
        ({"pool": "last"}, CaptureSpec(sites=("final_norm",), positions="last")),
        ({"site": "resid_post", "layer": -1}, CaptureSpec(sites=("resid_post",), layers=(-1,), reduce="mean")),
        ({"site": "blocks.2.hook_mlp_out"}, CaptureSpec(sites=("blocks.2.hook_mlp_out",), reduce="mean")),
        ({"site": "model.layers.1.mlp", "pool": "mean"}, CaptureSpec(sites=("model.layers.1.mlp",), reduce="mean")),
    ],
)
def test_fields_reach_the_engine(open_world: OpenWorld, sent: dict[str, Any], expected: CaptureSpec) -> None:
    world = open_world(script=vectors)
    world.client.post(URL, json={"model": "demo", "input": "hi", **sent})
    request = world.end.submitted[0].request
    assert isinstance(request, Capture)
    assert (request.capture, request.inputs) == (expected, ((104, 105),))


def test_token_ids_need_no_tokenizer(open_world: OpenWorld) -> None:
    world = open_world(script=vectors)
    world.client.post(URL, json={"model": "demo", "input": [5, 7]})
    assert not any(isinstance(message, CallTokenizer) for message in world.end.received)
    request = world.end.submitted[0].request
    assert isinstance(request, Capture)
    assert request.inputs == ((5, 7),)


@pytest.mark.parametrize(
    ("sent", "status", "param"),
    [
        ({"dimensions": 256}, 422, "dimensions"),
        ({"input": []}, 422, "input"),
        ({"input": 3}, 422, "input"),
        ({"encoding_format": "int8"}, 422, "encoding_format"),
        ({"pool": "max"}, 422, "pool"),
        ({"site": "resid_post"}, 422, "layer"),
        ({"site": "final_norm", "layer": 1}, 422, "layer"),
        ({"site": "attn_probs", "layer": 1}, 422, "site"),
        ({"site": "blocks.1.attn.hook_pattern"}, 422, "site"),
        ({"model": "nope"}, 404, "model"),
    ],
)
def test_errors_have_openais_shape(world: World, sent: dict[str, Any], status: int, param: str) -> None:
    answer = world.client.post(URL, json={"model": "demo", "input": "hi", **sent})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert world.end.submitted == []


@pytest.mark.parametrize(
    ("loc", "input_", "param"),
    [
        (("inputs", 1), ["a", ""], "input.1"),
        (("inputs", 0), "", "input"),
        (("sites", 0), "a", "site"),
        (("layers", 0), "a", "layer"),
    ],
)
def test_errors_of_the_engine_name_the_field_that_was_sent(
    open_world: OpenWorld, loc: tuple[str | int, ...], input_: Any, param: str
) -> None:
    def refuse(message: Submit | EstimateCost) -> Sequence[Update]:
        return [Failed(request_id=message.request.request_id, error=InvalidRequest("no", loc=loc))]

    answer = open_world(script=refuse).client.post(URL, json={"model": "demo", "input": input_})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


def test_a_result_over_the_limit_is_too_large(open_world: OpenWorld) -> None:
    client = open_world(script=vectors, max_json_bytes=1024).client
    statuses = [client.post(URL, json={"model": "demo", "input": ["x"] * n}).status_code for n in (2, 50, 300)]
    assert statuses == [200, 413, 413]
