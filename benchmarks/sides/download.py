"""HTTP client that reads a large body as fast as possible and discards it."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from benchmarks.sides.processes import process_behind

_BUFFER_BYTES = 1 << 20
_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Body:
    """A response: its size, and its bytes if they were kept."""

    n_bytes: int
    data: bytes | None = None


class Download:
    """A persistent connection to a loopback port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def server_pid(self) -> int:
        """Id of the server process of this connection."""
        # After a request, because the connection belongs to no process until the server accepts it.
        self._connection.request("GET", "/health")
        self._connection.getresponse().read()
        return process_behind(client_port=self._connection.sock.getsockname()[1], server_port=self._port)

    def get(self, path: str, *, keep: bool = False) -> Body:
        """GET; reads the whole body."""
        self._connection.request("GET", path)
        return self._read(keep=keep)

    def post(self, path: str, body: Any, *, keep: bool = False) -> Body:
        """POST a JSON body; reads the whole response."""
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return self._read(keep=keep)

    def _read(self, *, keep: bool) -> Body:
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"expected status 200, got {answer.status}: {answer.read()[:500]!r}")
        if keep:
            data = answer.read()
            return Body(n_bytes=len(data), data=data)
        buffer, n_bytes = bytearray(_BUFFER_BYTES), 0
        while n := answer.readinto(buffer):
            n_bytes += n
        return Body(n_bytes=n_bytes)
