from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from service.hosting.processes.connections import MAX_HEAD_BYTES, ConnectionWatch, WatchedConnection


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass


class Connection(WatchedConnection):
    """A connection in a state that tests set."""

    has_request = False
    is_idle = False
    is_closing = False
    n_unread_bytes = 0

    def __init__(self) -> None:
        self.n_head_bytes = 0
        self.n_drained = 0
        self.ends: list[str] = []

    def refuse_slow_head(self) -> None:
        self.ends.append("refused")
        self.is_closing = True

    def drop(self) -> None:
        self.ends.append("dropped")


@dataclass
class Scene:
    """A watch with a clock that tests set, and its connections."""

    connections: list[Connection]
    max_connections: int = 100
    now_s: float = 50.0
    watch: ConnectionWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = ConnectionWatch(
            read_timeout_s=20,
            write_timeout_s=60,
            min_bytes_per_s=10,
            max_connections=self.max_connections,
            clock=lambda: self.now_s,
        )
        self.watch.check(self.connections)

    def after(self, seconds: float) -> None:
        self.now_s += seconds
        self.watch.check(self.connections)


def test_a_connection_without_a_complete_request_is_closed_after_the_read_timeout() -> None:
    silent = Connection()
    scene = Scene([silent])
    scene.after(19)
    assert silent.ends == []
    scene.after(1)
    scene.after(30)
    assert silent.ends == ["refused"]


def test_a_request_or_an_idle_connection_has_no_read_timeout_and_the_next_request_has_its_own() -> None:
    connection = Connection()
    scene = Scene([connection])
    scene.after(15)
    connection.has_request = True
    scene.after(500)
    connection.has_request, connection.is_idle = False, True
    scene.after(500)
    connection.is_idle = False  # the first byte of the next request has arrived
    scene.after(1)
    scene.after(19)
    assert connection.ends == []
    scene.after(1)
    assert connection.ends == ["refused"]


@pytest.mark.parametrize("n_read", [0, 599])
def test_a_client_that_reads_too_little_is_dropped_after_the_write_timeout(n_read: int) -> None:
    reader = Connection()
    reader.has_request, reader.n_unread_bytes = True, 90_000
    scene = Scene([reader])
    scene.after(30)
    reader.n_unread_bytes -= n_read
    scene.after(29)
    assert reader.ends == []
    scene.after(1)
    assert reader.ends == ["dropped"]


def test_a_client_that_reads_slowly_but_enough_is_kept() -> None:
    reader = Connection()
    reader.has_request, reader.n_unread_bytes = True, 90_000
    scene = Scene([reader])
    for _ in range(20):
        scene.after(50)
        reader.n_unread_bytes -= 600
        scene.after(5)
    # It has read all that was waiting, and more of the same size was sent.
    for _ in range(20):
        reader.n_drained += 1
        scene.after(59)
    assert reader.ends == []
    reader.n_unread_bytes = 0
    scene.after(1000)
    assert reader.ends == []


def test_a_closing_connection_whose_rest_is_not_read_is_dropped() -> None:
    closing = Connection()
    closing.is_closing, closing.n_unread_bytes = True, 10
    scene = Scene([closing])
    scene.after(61)
    assert closing.ends == ["dropped"]


def test_when_there_are_too_many_the_oldest_without_a_request_make_room() -> None:
    first, working, second, third = (Connection() for _ in range(4))
    working.has_request = True
    scene = Scene([second], max_connections=2)
    scene.connections += [first, working]
    scene.after(2)
    assert (second.ends, first.ends, working.ends) == (["dropped"], [], [])
    scene.connections[:] = [working, first, third]
    scene.after(2)
    assert (first.ends, third.ends, working.ends) == (["dropped"], [], [])


def test_connections_are_looked_at_once_a_second() -> None:
    connection = Connection()
    scene = Scene([connection])
    scene.after(0.5)
    scene.connections.clear()
    scene.after(0.4)  # not looked at: the state is still that of the first look
    scene.connections.append(connection)
    scene.after(19.1)
    assert connection.ends == ["refused"]


@pytest.mark.parametrize(
    ("n_parts", "is_refused"), [(MAX_HEAD_BYTES // 1000 - 1, False), (MAX_HEAD_BYTES // 1000 + 1, True)]
)
def test_a_head_without_end_is_refused(n_parts: int, is_refused: bool) -> None:
    async def test() -> None:
        config = uvicorn.Config(FastAPI(), log_config=None)
        connection = WatchedConnection(config=config, server_state=ServerState(), app_state={})
        transport = Transport()
        connection.connection_made(transport)
        connection.data_received(b"GET / HTTP/1.1\r\n")
        for _ in range(n_parts):
            connection.data_received(b"X-Long: " + b"y" * 990 + b"\r\n")
        assert not connection.has_request
        assert transport.closed == is_refused
        assert transport.written.startswith(b"HTTP/1.1 431") == is_refused
        if not is_refused:
            connection.data_received(b"\r\n")
            assert connection.has_request
            assert connection.n_head_bytes == 0

    asyncio.run(test())


def test_the_body_of_a_request_does_not_count_as_its_head() -> None:
    async def test() -> None:
        config = uvicorn.Config(FastAPI(), log_config=None)
        connection = WatchedConnection(config=config, server_state=ServerState(), app_state={})
        transport = Transport()
        connection.connection_made(transport)
        connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n")
        for _ in range(3):
            connection.data_received(b"y" * MAX_HEAD_BYTES)
        assert (connection.n_head_bytes, transport.closed) == (0, False)

    asyncio.run(test())
