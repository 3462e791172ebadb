"""Requests and responses of ``client.completions`` and ``client.chat``."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import torch
from promptatlas import AsyncClient, Client, errors
from safetensors.numpy import load

from tests.clients.python.promptatlas.fake_server import STREAMED, FakeServer, events, reply

COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1700000000,
    "model": "demo",
    "choices": [
        {
            "index": 0,
            "text": " kitchen",
            "finish_reason": "length",
            "logprobs": {
                "tokens": ["Ana", " kitchen"],
                "token_logprobs": [None, -0.5],
                "top_logprobs": [None, {" kitchen": -0.5, " garden": -1.5}],
                "text_offset": [0, 3],
            },
        }
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "demo",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "demo",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
}
MESSAGES = [{"role": "user", "content": "Hello"}]


def test_completions(client: Client, server: FakeServer) -> None:
    server.will(reply(COMPLETION, x_request_id="req_3"))
    mix = {"mix": [{"ref": "a@1", "weight": 0.3}, {"ref": "b@2", "weight": 0.7}]}
    answer = client.completions.create(
        model="demo", prompt=np.array([1, 2]), prompt_ref=mix, logprobs=2, echo=True, logit_bias={5: -1.5}, timeout_s=7
    )
    assert answer.choices[0].text == " kitchen"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.token_logprobs == [None, -0.5]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer._request_id == "req_3"
    assert server.request.url.path == "/v1/completions"
    assert server.sent == {
        "model": "demo",
        "prompt": [1, 2],
        "prompt_ref": mix,
        "logprobs": 2,
        "echo": True,
        "logit_bias": {"5": -1.5},
    }
    assert server.request.headers["x-request-timeout"] == "7"


def test_vectors_are_sent_as_safetensors(client: Client, server: FakeServer) -> None:
    values = np.arange(6, dtype=np.float64).reshape(2, 3) / 7
    tensor = torch.from_numpy(values)
    cases: list[tuple[object, np.dtype[Any]]] = [
        (values, np.dtype(np.float32)),
        (values.T.astype(np.float16), np.dtype(np.float16)),
        (tensor.requires_grad_(), np.dtype(np.float32)),
        (tensor.bfloat16()[None], np.dtype(np.float32)),
        (tensor.half(), np.dtype(np.float16)),
    ]
    for given, dtype in cases:
        server.will(reply(COMPLETION))
        client.completions.create(model="demo", prompt_embeds=given)
        assert set(server.sent) == {"model", "prompt_embeds"}
        (sent,) = load(base64.b64decode(server.sent["prompt_embeds"])).values()
        expected = given.detach().double().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
        assert sent.dtype == dtype
        assert np.array_equal(sent, expected.astype(dtype))
    server.will(reply(COMPLETION))
    client.completions.create(model="demo", prompt="x", prompt_embeds=[values, "QUJD"])
    first, second = server.sent["prompt_embeds"]
    assert np.array_equal(load(base64.b64decode(first))["prompt_embeds"], values.astype(np.float32))
    assert (second, server.sent["prompt"]) == ("QUJD", "x")


def test_a_completion_needs_an_input(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError, match="prompt"):
        client.completions.create(model="demo")
    assert server.requests == []


def test_chat(client: Client, server: FakeServer) -> None:
    server.will(reply(CHAT))
    assert client.chat.create(model="demo:qa", messages=MESSAGES, max_tokens=3).choices[0].message.content == "Hi"
    assert server.request.url.path == "/v1/chat/completions"
    assert server.sent == {"model": "demo:qa", "messages": MESSAGES, "max_tokens": 3}


def test_chat_streams(client: Client, server: FakeServer) -> None:
    server.will(httpx.Response(200, content=events(CHUNK, CHUNK), headers=STREAMED))
    with client.chat.create(model="demo", messages=MESSAGES, stream=True) as stream:
        assert [chunk.choices[0].delta.content for chunk in stream] == ["Hi", "Hi"]
    assert server.sent["stream"] is True


def test_a_timeout_must_be_positive(client: Client, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        client.completions.create(model="demo", prompt="x", timeout_s=0)
    assert server.requests == []


def test_invalid_requests_are_not_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError, match="temprature"):
        client.completions.create(model="demo", prompt="x", temprature=1)  # type: ignore[call-overload]
    assert server.requests == []


def test_async_verbs_send_the_same(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply(COMPLETION))
        assert (await async_client.completions.create(model="demo", prompt="x", n=1)).choices[0].text == " kitchen"
        server.will(reply(CHAT))
        assert (await async_client.chat.create(model="demo", messages=MESSAGES)).id == "chatcmpl-1"

    anyio.run(run)
    paths = [request.url.path for request in server.requests]
    assert paths == ["/v1/completions", "/v1/chat/completions"]


def test_async_chat_streams(async_client: AsyncClient, server: FakeServer) -> None:
    server.will(httpx.Response(200, content=events(CHUNK), headers=STREAMED))

    async def run() -> list[str | None]:
        stream = await async_client.chat.create(model="demo", messages=MESSAGES, stream=True)
        return [chunk.choices[0].delta.content async for chunk in stream]

    assert anyio.run(run) == ["Hi"]
