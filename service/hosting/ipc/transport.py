"""A Unix socket between the engine process and the API processes, in place of LitServe's queues.

LitServe's own transport is a queue in a third process. It cannot say that the other side has died, a reader killed while
it waits takes the next message with it, and each message costs two more hops. On a socket the death of either side is
an end of file: the API fails what waits at once, the engine frees the rows of an API process that is gone.

A frame is four bytes of length (big-endian) and a pickle. Only the service's own user can reach the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import queue
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.errors import Unavailable
from service.hosting.ipc.messages import FromApi, FromEngine

_LENGTH = struct.Struct("!I")
_SEND_TIMEOUT_S = 30.0
_RECONNECT_S = 0.05


def frame(message: object) -> bytes:
    """A message as it stands on the socket."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message from an API process."""

    consumer: int
    message: FromApi


@dataclass(frozen=True, kw_only=True)
class Gone:
    """An API process has closed its connection, or died."""

    consumer: int


class EngineEnd:
    """The engine's end: accepts API processes, collects their messages in an inbox, sends replies.

    ``greet`` makes the first message of each connection. Messages are read in one thread a connection, so that the
    engine's own thread never waits for a socket to fill.
    """

    def __init__(self, path: str, *, greet: Callable[[], FromEngine]) -> None:
        self._greet = greet
        self._inbox: queue.SimpleQueue[Received | Gone] = queue.SimpleQueue()
        self._connections: dict[int, _Connection] = {}
        self._lock = threading.Lock()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(16)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def receive(self, *, block: bool) -> Received | Gone | None:
        """The next message, or None when there is none and ``block`` is false."""
        try:
            return self._inbox.get(block=block)
        except queue.Empty:
            return None

    def send(self, message: FromEngine, *, consumer: int) -> bool:
        """Send to one API process; false when it is gone."""
        with self._lock:
            connection = self._connections.get(consumer)
        return connection is not None and connection.send(frame(message))

    def broadcast(self, message: FromEngine) -> None:
        """Send to every API process."""
        with self._lock:
            connections = list(self._connections.values())
        data = frame(message)
        for connection in connections:
            connection.send(data)

    def close(self) -> None:
        """Stop listening and hang up."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections.values():
                connection.hang_up()

    def _accept(self) -> None:
        consumer = 0
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            consumer += 1
            connection = _Connection(peer)
            connection.send(frame(self._greet()))
            with self._lock:
                self._connections[consumer] = connection
            reader = threading.Thread(target=self._read, args=(consumer, connection), name="read", daemon=True)
            reader.start()

    def _read(self, consumer: int, connection: _Connection) -> None:
        while (message := connection.receive()) is not None:
            self._inbox.put(Received(consumer=consumer, message=message))
        with self._lock:
            self._connections.pop(consumer, None)
        self._inbox.put(Gone(consumer=consumer))


class _Connection:
    """One accepted socket; sending is safe from any thread."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._send_lock = threading.Lock()
        # A peer that reads nothing for this long is stuck for good; the engine must not be stuck with it.
        seconds, micros = int(_SEND_TIMEOUT_S), 0
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, micros))

    def send(self, data: bytes) -> bool:
        try:
            with self._send_lock:
                self._peer.sendall(data)
        except OSError:
            self.hang_up()
            return False
        return True

    def receive(self) -> FromApi | None:
        header = self._exactly(_LENGTH.size)
        body = None if header is None else self._exactly(_LENGTH.unpack(header)[0])
        return None if body is None else pickle.loads(body)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def _exactly(self, n_bytes: int) -> bytearray | None:
        data = bytearray(n_bytes)
        view, at = memoryview(data), 0
        while at < n_bytes:
            try:
                n_read = self._peer.recv_into(view[at:])
            except OSError:
                return None
            if n_read == 0:
                return None
            at += n_read
        return data


class ApiEnd:
    """The API process's end: keeps connected to whichever engine process listens."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    @property
    def connected(self) -> bool:
        return self._writer is not None

    def send(self, message: FromApi) -> None:
        """Hand a message to the socket; returns at once.

        Raises:
            Unavailable: no engine is connected.
        """
        if self._writer is None or self._writer.is_closing():
            raise Unavailable("No engine process is connected.", retry_after_s=2)
        self._writer.write(frame(message))

    async def run(self, *, on_message: Callable[[FromEngine], None], on_lost: Callable[[], None]) -> None:
        """Connect, deliver messages until the engine is gone, say so, and begin again, until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
                continue
            self._writer = writer
            try:
                await _deliver(reader, on_message)
            finally:
                self._writer = None
                writer.close()
                on_lost()


async def _deliver(reader: asyncio.StreamReader, on_message: Callable[[Any], None]) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (n_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            on_message(pickle.loads(await reader.readexactly(n_bytes)))
