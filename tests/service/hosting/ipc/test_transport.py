from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Callable
from typing import Any

import pytest

from service.errors import Unavailable
from service.hosting.ipc.messages import Cancel, EngineState, FromEngine, Reply
from service.hosting.ipc.transport import ApiEndpoint, Disconnected, EngineEndpoint, Received
from tests.service.hosting.ipc.peer import Peer


def state(generation: int) -> EngineState:
    return EngineState(generation=generation, pid=1, models={}, stats={})


def open_end(path: str, *, generation: int = 1) -> EngineEndpoint:
    return EngineEndpoint(path, first_message=lambda: state(generation), clock=lambda: 7.5)


class Listener:
    """The API process's endpoint with the messages that it has received; ``until`` waits for some of them."""

    def __init__(self, path: str) -> None:
        self.end = ApiEndpoint(path)
        self.seen: list[FromEngine | None] = []
        self._changed = asyncio.Event()

    async def run(self) -> None:
        await self.end.run(on_message=self._note, on_lost=lambda: self._note(None))

    async def until(self, condition: Callable[[list[FromEngine | None]], bool]) -> None:
        while not condition(self.seen):
            self._changed.clear()
            await self._changed.wait()

    def _note(self, message: FromEngine | None) -> None:
        self.seen.append(message)
        self._changed.set()


async def connected(path: str) -> tuple[Listener, asyncio.Task[None]]:
    listener = Listener(path)
    task = asyncio.ensure_future(listener.run())
    await listener.until(lambda seen: bool(seen))
    return listener, task


async def receive(end: EngineEndpoint) -> Any:
    return await asyncio.to_thread(end.receive, block=True)


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_messages_go_both_ways(socket_path: str) -> None:
    end = open_end(socket_path)

    async def test() -> None:
        listener, task = await connected(socket_path)
        listener.end.send(Cancel(request_id="é" * 100_000))
        received = await receive(end)
        assert received == Received(connection_id=1, message=Cancel(request_id="é" * 100_000), at_s=7.5)
        assert end.receive(block=False) is None
        assert end.send(Reply(request_id="r", updates=()), connection_id=1)
        assert not end.send(Reply(request_id="r", updates=()), connection_id=9)
        end.broadcast(state(2))
        await listener.until(lambda seen: len(seen) == 3)
        assert listener.seen == [state(1), Reply(request_id="r", updates=()), state(2)]
        task.cancel()

    run(test)
    end.close()


def test_a_disconnected_api_process_is_reported(socket_path: str) -> None:
    end = open_end(socket_path)

    async def test() -> None:
        _, task = await connected(socket_path)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await receive(end) == Disconnected(connection_id=1)
        assert not end.send(state(1), connection_id=1)

    run(test)
    end.close()


def test_a_lost_engine_is_reported_and_the_next_one_connected(socket_path: str) -> None:
    first = open_end(socket_path)

    async def test() -> None:
        listener, task = await connected(socket_path)
        first.close()
        await listener.until(lambda seen: seen[-1] is None)
        assert not listener.end.connected
        with pytest.raises(Unavailable):
            listener.end.send(Cancel(request_id="x"))
        second = open_end(socket_path, generation=2)
        await listener.until(lambda seen: seen[-1] == state(2))
        assert listener.end.connected
        task.cancel()
        second.close()

    run(test)


def test_only_its_own_user_can_open_the_socket(socket_path: str) -> None:
    import os

    end = open_end(socket_path)
    assert os.stat(socket_path).st_mode & 0o777 == 0o600
    end.close()


@pytest.mark.parametrize("body", [b"\x93\x63\x01\x02", b"not msgpack", pickle.dumps(Cancel(request_id="a"))])
def test_an_api_process_that_sends_a_malformed_frame_is_disconnected(socket_path: str, body: bytes) -> None:
    end = open_end(socket_path)
    good, bad = Peer(socket_path), Peer(socket_path)
    assert (good.receive(), bad.receive()) == (state(1), state(1))
    bad.send_bytes(struct.pack("!I", len(body)) + body)
    assert bad.receive() is None
    assert end.receive(block=True) == Disconnected(connection_id=2)
    good.send(Cancel(request_id="b"))
    assert end.receive(block=True) == Received(connection_id=1, message=Cancel(request_id="b"), at_s=7.5)
    end.close()


def test_an_engine_that_sends_a_malformed_frame_is_disconnected_and_connected_again(socket_path: str) -> None:
    end = open_end(socket_path)

    async def test() -> None:
        listener, task = await connected(socket_path)
        of_other_direction: Any = Cancel(request_id="a")
        while not end.send(of_other_direction, connection_id=1):  # until the connection is registered
            await asyncio.sleep(0.001)
        assert await receive(end) == Disconnected(connection_id=1)
        await listener.until(lambda seen: len(seen) == 3)
        assert listener.seen == [state(1), None, state(1)]
        while not end.send(state(2), connection_id=2):  # until the new connection is accepted
            await asyncio.sleep(0.001)
        await listener.until(lambda seen: seen[-1] == state(2))
        task.cancel()

    run(test)
    end.close()
