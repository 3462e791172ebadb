"""Requests and responses of ``client.embeddings`` and of the tokenizer's verbs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from promptatlas import Client, errors

from tests.clients.python.promptatlas.fake_server import FakeServer, reply

EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
    "model": "demo",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


def test_embeddings(client: Client, server: FakeServer) -> None:
    server.will(reply(EMBEDDINGS))
    found = client.embeddings.create(model="demo", input=np.array([1, 2]), site="resid_post", layer=3, pool="last")
    assert found.data[0].embedding == [0.5, -1.0]
    assert found.usage.prompt_tokens == 2
    (request,) = server.requests
    assert request.url.path == "/v1/embeddings"
    assert json.loads(request.content) == {
        "model": "demo",
        "input": [1, 2],
        "site": "resid_post",
        "layer": 3,
        "pool": "last",
    }


def test_tokenize_and_detokenize(client: Client, server: FakeServer) -> None:
    server.will(reply({"tokens": [3, 4], "count": 2, "max_model_len": 64}), reply({"prompt": "hi"}))
    assert client.models.tokenize("demo", prompt="hi", add_special_tokens=False).tokens == [3, 4]
    assert client.models.detokenize("demo", tokens=[3, 4]).prompt == "hi"
    first, second = server.requests
    assert (first.url.path, second.url.path) == ("/tokenize", "/detokenize")
    assert json.loads(first.content) == {"model": "demo", "prompt": "hi", "add_special_tokens": False}
    assert json.loads(second.content) == {"model": "demo", "tokens": [3, 4]}


def test_invalid_fields_are_not_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError):
        client.models.detokenize("demo", tokens=[-1])
    with pytest.raises(errors.InvalidRequestError):
        client.embeddings.create(model="demo", input=[])
    assert server.requests == []
