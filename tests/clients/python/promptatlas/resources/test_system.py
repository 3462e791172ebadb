"""Models, capabilities, health."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply

ENTRIES = [
    {"id": "demo", "created": 1, "root": "demo", "parent": None},
    {"id": "demo:qa", "created": 2, "root": "demo", "parent": "demo"},
]
CARD = {
    **ENTRIES[0],
    "n_layers": 6,
    "d_model": 192,
    "n_heads": 6,
    "n_kv_heads": 2,
    "vocab_size": 1024,
    "n_positions": 512,
    "dtype": "float32",
    "device": "cpu",
    "revision": "ab" * 32,
    "sites": ["embed", "resid_post"],
}
PARTS: dict[str, Any] = {
    "engine": {"status": "starting", "detail": "loading demo"},
    "store": {"status": "ok"},
    "redis": {"status": "off"},
}


def test_models(client: Client, server: FakeServer) -> None:
    server.will(reply({"object": "list", "data": ENTRIES}))
    assert [(entry.id, entry.parent) for entry in client.models.list()] == [("demo", None), ("demo:qa", "demo")]
    server.will(reply(CARD))
    assert client.models.get("demo").sites == ["embed", "resid_post"]
    client.models.get("demo:qa@3")
    assert server.request.url.path == "/v1/models/demo:qa@3"


def test_capabilities(client: Client, server: FakeServer) -> None:
    server.will(reply({"max_batch": 64, "max_tokens": 512, "max_capture_bytes": 1 << 30, "max_maps": 3}))
    limits = client.capabilities()
    assert limits.max_capture_bytes == 1 << 30
    assert limits.model_dump()["max_maps"] == 3


def test_ready(client: Client, server: FakeServer) -> None:
    server.will(reply({"status": "ready", **PARTS, "engine": {"status": "ok"}}))
    assert client.ready().status == "ready"


def test_not_ready_is_a_response_and_is_not_retried(client: Client, server: FakeServer, slept: list[float]) -> None:
    body = {"title": "Not ready", "type": "about:blank", "status": "not_ready", **PARTS}
    server.will(reply(body, status=503))
    ready = client.ready()
    assert (ready.status, ready.engine.status, ready.engine.detail) == ("not_ready", "starting", "loading demo")
    assert slept == []


def test_a_response_of_a_proxy_is_an_error(client: Client, server: FakeServer) -> None:
    server.will(problem(503, "no upstream"))
    with pytest.raises(errors.UnavailableError, match="no upstream"):
        client.ready()


def test_async_system(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply({"object": "list", "data": ENTRIES}))
        assert [entry.id async for entry in await async_client.models.list()] == ["demo", "demo:qa"]
        server.will(reply(CARD))
        assert (await async_client.models.get("demo")).n_layers == 6
        server.will(reply({"max_batch": 64, "max_tokens": 512, "max_capture_bytes": 1}))
        assert (await async_client.capabilities()).max_batch == 64
        server.will(reply({"status": "ready", **PARTS}))
        assert (await async_client.ready()).status == "ready"

    anyio.run(run)
