from __future__ import annotations

from typing import Any

import pytest

from service.hosting.ipc.messages import CallTokenizer
from tests.service.api.conftest import World


def test_tokens_and_text_of_a_model(world: World) -> None:
    found = world.client.post("/tokenize", json={"model": "demo", "prompt": "hi"})
    assert found.json() == {"tokens": [104, 105], "count": 2, "max_model_len": 64}
    assert world.client.post("/tokenize", json={"model": "demo", "prompt": ""}).json()["tokens"] == []
    text = world.client.post("/detokenize", json={"model": "demo", "tokens": [104, 105]})
    assert text.json() == {"prompt": "hi"}


def test_special_tokens_can_be_left_out(world: World) -> None:
    for sent in ({}, {"add_special_tokens": False}):
        world.client.post("/tokenize", json={"model": "demo", "prompt": "hi", **sent})
    calls = [message.request for message in world.end.received if isinstance(message, CallTokenizer)]
    assert [getattr(call, "add_special_tokens", None) for call in calls] == [True, False]


@pytest.mark.parametrize(
    ("path", "body", "status", "loc"),
    [
        ("/tokenize", {"model": "nope", "prompt": "hi"}, 404, ["model"]),
        ("/tokenize", {"model": "demo:nope", "prompt": "hi"}, 404, ["model"]),
        ("/tokenize", {"model": "demo", "prompt": ["hi"]}, 422, ["prompt"]),
        ("/tokenize", {"model": "demo"}, 422, ["prompt"]),
        ("/detokenize", {"model": "demo", "tokens": [-1]}, 422, ["tokens", 0]),
        ("/detokenize", {"model": "demo", "tokens": "hi"}, 422, ["tokens"]),
    ],
)
def test_errors_are_problems_that_name_the_field(
    world: World, path: str, body: dict[str, Any], status: int, loc: list[Any]
) -> None:
    answer = world.client.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["errors"][0]["loc"] == loc


def test_a_server_without_an_engine_is_unavailable(open_world: Any) -> None:
    client = open_world(ready=False).client
    for path, field in (("/tokenize", {"prompt": "hi"}), ("/detokenize", {"tokens": [1]})):
        assert client.post(path, json={"model": "demo", **field}).status_code == 503
