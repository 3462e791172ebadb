"""A fake server, and clients of it that do not really sleep."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from promptatlas import AsyncClient, Client

from tests.clients.python.promptatlas.fake_server import FakeServer


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def slept() -> list[float]:
    """The delays that a client waited, in seconds."""
    return []


@pytest.fixture
def client(server: FakeServer, slept: list[float]) -> Iterator[Client]:
    with Client(
        transport=httpx.MockTransport(server),
        sleep=slept.append,
        random=lambda: 1.0,
        clock=lambda: 0.0,
        progress=False,
        environ={},
    ) as client:
        yield client


@pytest.fixture
def async_client(server: FakeServer, slept: list[float]) -> AsyncClient:
    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)

    return AsyncClient(
        transport=httpx.MockTransport(server),
        sleep=sleep,
        random=lambda: 1.0,
        clock=lambda: 0.0,
        progress=False,
        environ={},
    )
