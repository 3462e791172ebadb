"""Requests and responses of ``client.activations``."""

from __future__ import annotations

import anyio
import numpy as np
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_server import (
    FakeServer,
    activation_tensors,
    problem,
    reply,
    tensor_bytes,
    tensors_reply,
)


def test_activations(client: Client, server: FakeServer) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))
    with client.activations.get(
        model="demo",
        inputs=["Ana", np.array([1, 2])],
        sites=("resid_post", "embed"),
        layers=range(2, 4),
        positions=slice(0, 5),
        prompt_ref="qa@2",
        include_virtual=True,
        reduce="norm",
        dtype="bfloat16",
        request_id="mine",
    ) as cache:
        assert cache.request_id == "req_7"
    assert server.request.url.path == "/v1/activations"
    assert server.request.headers["accept"] == "application/vnd.safetensors"
    assert server.request.headers["accept-encoding"] == "identity"
    assert server.request.headers["x-request-id"] == "mine"
    assert server.sent == {
        "model": "demo",
        "inputs": ["Ana", [1, 2]],
        "sites": ["resid_post", "embed"],
        "layers": [2, 3],
        "positions": {"start": 0, "stop": 5},
        "prompt_ref": "qa@2",
        "include_virtual": True,
        "reduce": "norm",
        "dtype": "bfloat16",
    }


def test_estimates(client: Client, server: FakeServer) -> None:
    server.will(reply({"n_tokens": 4, "bytes": 1024, "seconds": 0.25}))
    cost = client.activations.estimate(model="demo", inputs=["Ana"], sites=["resid_post"], layers="all")
    assert (cost.n_tokens, cost.bytes, cost.seconds) == (4, 1024, 0.25)
    assert server.request.url.path == "/v1/activations/estimate"
    assert server.sent == {"model": "demo", "inputs": ["Ana"], "sites": ["resid_post"], "layers": "all"}


def test_divergences(client: Client, server: FakeServer) -> None:
    rows = {"row_offsets": [0, 2], "token_ids": [4, 5], "positions": [0, 1], "request_id": "req_7"}
    server.will(reply({**rows, "kl": {"resid_post.0": [0.5, None]}, "prompt": None, "against": None}))
    found = client.activations.divergence(
        model="demo", inputs=[np.array([4, 5])], prompt_ref="qa@2", against=None, layers=[0]
    )
    assert found.kl == {"resid_post.0": [0.5, None]}
    assert server.request.url.path == "/v1/activations/divergence"
    assert server.sent == {"model": "demo", "inputs": [[4, 5]], "prompt_ref": "qa@2", "against": None, "layers": [0]}


def test_too_large_suggests_how_to_reduce_it(client: Client, server: FakeServer) -> None:
    server.will(problem(413, "2 GB asked, 1 GB allowed: choose fewer layers"))
    with pytest.raises(errors.TooLargeError, match="choose fewer layers"):
        client.activations.get(model="demo", inputs=["Ana"], sites=["resid_post"])


def test_invalid_requests_are_not_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError):
        client.activations.get(model="demo", inputs=[], sites=["resid_post"])
    assert server.requests == []


def test_async_estimates_send_the_same(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply({"n_tokens": 4, "bytes": 1024, "seconds": 0.25}))
        assert (await async_client.activations.estimate(model="demo", inputs=["a"], sites=["embed"])).bytes == 1024

    anyio.run(run)
    assert [request.url.path for request in server.requests] == ["/v1/activations/estimate"]
