"""Connections of clients that do nothing: half a request head, no request at all, or a response that is not read.

uvicorn has a timeout for idle connections after a response only. The bodies of requests are limited by the application.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 << 10
"""Limit of the request line and the headers together."""

_MOST_FILES = 65_536
_RESERVED_FILES = 256  # of the store, Redis and the engine
_log = structlog.get_logger(__name__)


class WatchedConnection(HttpToolsProtocol):
    """A connection of uvicorn whose state can be watched, and whose request heads are limited.

    Attributes:
        n_head_bytes: received bytes of an incomplete request head.
        n_drained: how often the client has read enough of a paused response for more to be sent.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.n_head_bytes = 0
        self.n_drained = 0
        self._is_in_head = False

    @property
    def has_request(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a further request, within uvicorn's own timeout."""
        return self.timeout_keep_alive_task is not None

    @property
    def is_closing(self) -> bool:
        """Whether it is closed as soon as the client has read what was sent."""
        return bool(self.transport.is_closing())

    @property
    def n_unread_bytes(self) -> int:
        """Bytes that wait until the client reads; 0 while the application can still add some without waiting."""
        is_final = self.flow.write_paused or self.is_closing or not self.has_request
        return self.transport.get_write_buffer_size() if is_final else 0

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; 431 for a head that is too large."""
        super().data_received(data)
        self.n_head_bytes = self.n_head_bytes + len(data) if self._is_in_head else 0
        if self.n_head_bytes > MAX_HEAD_BYTES:
            self._answer(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Called by the parser at the first byte of a request."""
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        """Called by the parser after a request head."""
        self._is_in_head = False
        super().on_headers_complete()

    def resume_writing(self) -> None:
        """Called by the transport when the client has read most of what was sent."""
        self.n_drained += 1
        super().resume_writing()

    def refuse_slow_head(self) -> None:
        """Close it because no complete request has arrived; 408 if a part of one has."""
        if self.n_head_bytes:
            self._answer(b"408 Request Timeout")
        else:
            self.transport.close()

    def drop(self) -> None:
        """Close it at once, without what the client has not read."""
        self.transport.abort()

    def _answer(self, status: bytes) -> None:
        if not self.is_closing:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """State of a connection. without_request_since_s: None while a request is answered, or idle. unread: since when, how
    many bytes, and :attr:`WatchedConnection.n_drained` at that time; None if there are none."""

    without_request_since_s: float | None
    unread: tuple[float, int, int] | None


class ConnectionWatch:
    """Closes connections whose client sends no complete request head, or does not read.

    Args:
        read_timeout_s: time for a request head, from the first byte or from the connection.
        write_timeout_s: time in which a client that has not read everything must read ``min_bytes_per_s`` on average.
        max_connections: if there are more, those without a request are closed, the oldest first.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        read_timeout_s: float,
        write_timeout_s: float,
        min_bytes_per_s: int,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._min_read_bytes = max(1.0, min_bytes_per_s * write_timeout_s)
        self._max_connections = max_connections
        self._clock = clock
        self._interval_s = min(1.0, read_timeout_s / 4, write_timeout_s / 4)
        self._next_s = 0.0
        self._seen: Mapping[WatchedConnection, _Seen] = {}

    def check(self, connections: Iterable[Any]) -> None:
        """Look at all open connections, at most once a second; to be called often."""
        now_s = self._clock()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._interval_s
        watched = [connection for connection in connections if isinstance(connection, WatchedConnection)]
        before, self._seen = self._seen, {}
        self._seen = {connection: self._look(connection, before.get(connection), now_s) for connection in watched}
        for connection, seen in self._seen.items():
            self._close_if_stuck(connection, seen, now_s)
        self._make_room()

    def _look(self, connection: WatchedConnection, before: _Seen | None, now_s: float) -> _Seen:
        since_s = before.without_request_since_s if before is not None else None
        if connection.has_request or connection.is_idle:
            since_s = None
        elif since_s is None:
            since_s = now_s
        n_unread, n_drained = connection.n_unread_bytes, connection.n_drained
        unread = before.unread if before is not None else None
        if n_unread == 0:
            unread = None
        elif unread is None or unread[2] != n_drained or unread[1] - n_unread >= self._min_read_bytes:
            unread = (now_s, n_unread, n_drained)
        return _Seen(without_request_since_s=since_s, unread=unread)

    def _close_if_stuck(self, connection: WatchedConnection, seen: _Seen, now_s: float) -> None:
        since_s = seen.without_request_since_s
        if seen.unread is not None and now_s - seen.unread[0] >= self._write_timeout_s:
            _log.info("connection closed", reason="response not read", n_unread_bytes=connection.n_unread_bytes)
            connection.drop()
        elif since_s is not None and now_s - since_s >= self._read_timeout_s and not connection.is_closing:
            _log.info("connection closed", reason="no complete request", n_head_bytes=connection.n_head_bytes)
            connection.refuse_slow_head()

    def _make_room(self) -> None:
        n_over = len(self._seen) - self._max_connections
        if n_over <= 0:
            return
        waiting = [connection for connection in self._seen if not connection.has_request and not connection.is_closing]
        waiting.sort(key=lambda connection: self._seen[connection].without_request_since_s or 0.0)
        _log.warning("too many connections", n_connections=len(self._seen), n_closed=min(n_over, len(waiting)))
        for connection in waiting[:n_over]:
            connection.drop()


def raise_file_limit() -> int:
    """Let this process open as many files as it may, up to a bound; returns the number of connections that it can hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_files = _MOST_FILES if soft == resource.RLIM_INFINITY else soft
    return max(n_files - _RESERVED_FILES, n_files // 2)
