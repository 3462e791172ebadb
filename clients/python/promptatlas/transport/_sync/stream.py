# Generated from promptatlas.transport._async.stream by generate_sync.py: edit that module, then run `make generate`.
"""Stream of the values of a response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, cast

import httpx
from httpx_sse import EventSource

from promptatlas.transport._async.stream import T
from promptatlas.transport.call import Call
from promptatlas.transport.httpx_errors import request_id_of, translated
from promptatlas.transport.sse import EventReader


class Stream(AbstractContextManager["Stream[T]"], Generic[T]):
    """The values of a streamed response, in the order in which they arrive.

    It is a context manager: leaving it early closes the connection, and the server stops the request.
    Iteration raises ProblemError for an error inside the stream, and BrokenStreamError if the end mark is missing.
    """

    def __init__(self, response: httpx.Response, *, call: Call[T]) -> None:
        self._response = response
        if call.following is not None:
            response.stream = CheckedBytes(cast(httpx.SyncByteStream, response.stream), check=call.following.on_bytes)
        self._reader = EventReader(response, call=call)
        self._values = self._read()

    @property
    def request_id(self) -> str | None:
        """Identifier of the request in the server's log."""
        return request_id_of(self._response)

    def __iter__(self) -> Iterator[T]:
        return self._values

    def __next__(self) -> T:
        return self._values.__next__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._response.close()

    def _read(self) -> Iterator[T]:
        try:
            with translated():
                for event in EventSource(self._response).iter_sse():
                    for value in self._reader.values(event):
                        yield value
                    if self._reader.done:
                        return
            self._reader.check_end()
        finally:
            self._response.close()


class CheckedBytes(httpx.SyncByteStream):
    """The bytes of a response. ``check`` is called for each chunk, also for those that complete no event."""

    def __init__(self, stream: httpx.SyncByteStream, *, check: Callable[[], None]) -> None:
        self._stream = stream
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._check()
            yield chunk

    def close(self) -> None:
        self._stream.close()
