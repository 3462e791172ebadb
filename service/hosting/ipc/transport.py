"""Unix socket between the engine process and the API processes, in place of LitServe's queues.

LitServe's transport is a queue in a third process. It does not report that the other side has died, a reader that is
killed while it waits loses the next message, and each message takes two more hops. On a socket the death of either side
is an end of file: the API process fails its pending requests at once, and the engine frees the rows of a dead API process.

A frame is four bytes of length (big-endian) and a message encoded by :mod:`service.hosting.ipc.codec`. A frame that is
not a message closes the connection. Only the service's own user can open the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, get_args

import structlog

from service.errors import EngineUnavailable
from service.hosting.ipc.codec import MalformedFrame, decode, encode
from service.hosting.ipc.messages import FromApi, FromEngine

_log = structlog.get_logger(__name__)

_LENGTH = struct.Struct("!I")
_SEND_TIMEOUT_S = 30.0
_RECONNECT_S = 0.05
_FROM_API: tuple[type, ...] = get_args(FromApi)
_FROM_ENGINE: tuple[type, ...] = get_args(FromEngine)


def frame(message: object) -> bytes:
    """The bytes of a message on the socket."""
    body = encode(message)
    return _LENGTH.pack(len(body)) + body


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message from an API process. at_s: when it arrived, in monotonic seconds: it may wait while a step runs."""

    connection_id: int
    message: FromApi
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Disconnected:
    """An API process has closed its connection, or died."""

    connection_id: int


@dataclass(frozen=True, kw_only=True)
class Posted:
    """An event of the engine process itself, which concerns a request of a connection."""

    connection_id: int
    event: Any


class EngineEndpoint:
    """The engine's end: accepts API processes, collects their messages in an inbox, sends replies.

    One thread per connection reads messages, so that the engine's own thread never waits for a socket.

    Args:
        path: of the socket.
        first_message: makes the message that each new connection receives first.
        clock: monotonic seconds.
    """

    def __init__(
        self, path: str, *, first_message: Callable[[], FromEngine], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_message = first_message
        self._clock = clock
        self._inbox: queue.SimpleQueue[Received | Disconnected | Posted] = queue.SimpleQueue()
        self._connections: dict[int, _Connection] = {}
        self._lock = threading.Lock()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(16)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def receive(self, *, block: bool, timeout_s: float | None = None) -> Received | Disconnected | Posted | None:
        """The next message or event; None when there is none, at once or, if ``block`` is true, after ``timeout_s``."""
        try:
            return self._inbox.get(block=block, timeout=timeout_s)
        except queue.Empty:
            return None

    def post(self, event: object, *, connection_id: int) -> None:
        """Put an event into the inbox; from any thread."""
        self._inbox.put(Posted(connection_id=connection_id, event=event))

    def send(self, message: FromEngine, *, connection_id: int) -> bool:
        """Send to one API process; returns false when it is disconnected."""
        with self._lock:
            connection = self._connections.get(connection_id)
        return connection is not None and connection.send(frame(message))

    def broadcast(self, message: FromEngine) -> None:
        """Send to every API process."""
        with self._lock:
            connections = list(self._connections.values())
        data = frame(message)
        for connection in connections:
            connection.send(data)

    def close(self) -> None:
        """Stop listening and close all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections.values():
                connection.close()

    def _accept(self) -> None:
        connection_id = 0
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            connection_id += 1
            connection = _Connection(peer)
            connection.send(frame(self._first_message()))
            with self._lock:
                self._connections[connection_id] = connection
            reader = threading.Thread(target=self._read, args=(connection_id, connection), name="read", daemon=True)
            reader.start()

    def _read(self, connection_id: int, connection: _Connection) -> None:
        try:
            while (message := connection.receive()) is not None:
                self._inbox.put(Received(connection_id=connection_id, message=message, at_s=self._clock()))
        except MalformedFrame as error:
            _log.error("malformed frame, connection closed", peer="api", reason=str(error))
            connection.close()
        with self._lock:
            self._connections.pop(connection_id, None)
        self._inbox.put(Disconnected(connection_id=connection_id))


class _Connection:
    """One accepted socket; sending is safe from any thread."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._send_lock = threading.Lock()
        # A peer that reads nothing for this long does not recover; the engine must not wait for it.
        seconds, micros = int(_SEND_TIMEOUT_S), 0
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, micros))

    def send(self, data: bytes) -> bool:
        try:
            with self._send_lock:
                self._peer.sendall(data)
        except OSError:
            self.close()
            return False
        return True

    def receive(self) -> FromApi | None:
        """The next message, None at the end of the connection; raises MalformedFrame."""
        header = self._read_exactly(_LENGTH.size)
        body = None if header is None else self._read_exactly(_LENGTH.unpack(header)[0])
        return None if body is None else cast(FromApi, decode(body, expected=_FROM_API))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def _read_exactly(self, n_bytes: int) -> bytearray | None:
        data = bytearray(n_bytes)
        view, n_done = memoryview(data), 0
        while n_done < n_bytes:
            try:
                n_read = self._peer.recv_into(view[n_done:])
            except OSError:
                return None
            if n_read == 0:
                return None
            n_done += n_read
        return data


class ApiEndpoint:
    """The API process's end: stays connected to the engine process that listens at the moment."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    @property
    def connected(self) -> bool:
        """Whether an engine process is connected."""
        return self._writer is not None

    def send(self, message: FromApi) -> None:
        """Write a message to the socket's buffer; returns at once.

        Raises:
            EngineUnavailable: no engine is connected.
        """
        if self._writer is None or self._writer.is_closing():
            raise EngineUnavailable("No engine process is connected.", retry_after_s=2)
        self._writer.write(frame(message))

    async def run(self, *, on_message: Callable[[FromEngine], None], on_lost: Callable[[], None]) -> None:
        """Until cancelled: connect, deliver messages until the connection ends, call ``on_lost``, connect again."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
                continue
            self._writer = writer
            try:
                await _deliver(reader, on_message)
            except MalformedFrame as error:
                _log.error("malformed frame, connection closed", peer="engine", reason=str(error))
            finally:
                self._writer = None
                writer.close()
                on_lost()
            await asyncio.sleep(_RECONNECT_S)


async def _deliver(reader: asyncio.StreamReader, on_message: Callable[[FromEngine], None]) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (n_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            body = await reader.readexactly(n_bytes)
            on_message(cast(FromEngine, decode(body, expected=_FROM_ENGINE)))
