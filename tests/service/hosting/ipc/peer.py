"""The API process's end of the socket for tests: blocking, one message at a time."""

from __future__ import annotations

import socket
import struct
from typing import Any

from service.hosting.ipc.codec import decode
from service.hosting.ipc.messages import EngineState, Reply
from service.hosting.ipc.transport import frame


class Peer:
    """Connects at once."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(20)
        self._socket.connect(path)

    def send(self, message: object) -> None:
        self._socket.sendall(frame(message))

    def receive(self) -> Any:
        """The next message; None when the other side has closed the connection."""
        header = self._exactly(4)
        if header is None:
            return None
        return decode(self._exactly(struct.unpack("!I", header)[0]) or b"", expected=(Reply, EngineState))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, n_bytes: int) -> bytes | None:
        data = b""
        while len(data) < n_bytes:
            part = self._socket.recv(n_bytes - len(data))
            if not part:
                return None
            data += part
        return data
