from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from service.hosting.processes.api_server import ApiServer
from service.hosting.processes.connections import ConnectionWatch


@dataclass
class Scene:
    """A server that is not started, with a clock that tests set."""

    drain_s: float = 2.0
    grace_s: float = 30.0
    now_s: float = 100.0
    drained: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = ApiServer(
            uvicorn.Config(FastAPI()),
            drain=lambda: self.drained.append(self.now_s),
            refuse=lambda: self.refused.append(self.now_s),
            drain_s=self.drain_s,
            grace_s=self.grace_s,
            watch=ConnectionWatch(read_timeout_s=9, write_timeout_s=9, min_bytes_per_s=1, max_connections=9),
            clock=lambda: self.now_s,
        )

    def exits_after(self, seconds: float) -> bool:
        self.now_s += seconds
        return asyncio.run(self.server.on_tick(1))


def test_an_idle_server_answers_for_the_drain_time_after_sigterm() -> None:
    scene = Scene()
    assert not scene.exits_after(500)
    scene.server.handle_exit(signal.SIGTERM, None)
    assert scene.drained == [600]
    assert not scene.exits_after(0)
    assert not scene.exits_after(1.75)
    assert scene.refused == []
    assert scene.exits_after(0.25)
    assert scene.refused == [602]


def test_running_requests_have_the_grace_time() -> None:
    scene = Scene()
    request: Any = object()
    scene.server.server_state.tasks.add(request)
    scene.server.handle_exit(signal.SIGTERM, None)
    assert not scene.exits_after(28)
    assert not scene.exits_after(1)
    assert scene.refused == [128]
    assert scene.exits_after(2)


def test_a_request_that_ends_within_the_grace_time_ends_the_server() -> None:
    scene = Scene()
    request: Any = object()
    scene.server.server_state.tasks.add(request)
    scene.server.handle_exit(signal.SIGTERM, None)
    assert not scene.exits_after(10)
    scene.server.server_state.tasks.clear()
    assert scene.exits_after(0)


@pytest.mark.parametrize("grace_s", [0.0, 1.0])
def test_the_drain_time_is_kept_with_a_shorter_grace_time(grace_s: float) -> None:
    scene = Scene(grace_s=grace_s)
    scene.server.handle_exit(signal.SIGTERM, None)
    assert not scene.exits_after(1.5)
    assert scene.exits_after(1)


def test_a_second_sigterm_stops_at_once_and_sigint_is_ignored() -> None:
    scene = Scene()
    scene.server.handle_exit(signal.SIGINT, None)
    assert scene.drained == []
    scene.server.handle_exit(signal.SIGTERM, None)
    scene.server.handle_exit(signal.SIGTERM, None)
    assert scene.drained == [100]
    assert scene.exits_after(0)
