"""The command line with a fake server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from promptatlas import Client
from promptatlas.cli import create_app
from typer.testing import CliRunner, Result

from tests.clients.python.promptatlas.fake_server import FakeServer

Run = Callable[..., Result]


@pytest.fixture
def run(server: FakeServer, slept: list[float]) -> Run:
    def connect(url: str | None, api_key: str | None) -> Client:
        transport = httpx.MockTransport(server)
        return Client(url, api_key=api_key, transport=transport, sleep=slept.append, progress=False, environ={})

    app = create_app(connect)

    def run(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(app, list(arguments), **more)

    return run
