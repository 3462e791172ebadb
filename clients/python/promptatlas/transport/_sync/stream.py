# Generated from promptatlas.transport._async.stream by generate_sync.py: edit that module, then run `make generate`.
"""Stream of the values of a response."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic

import httpx

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
                for chunk in self._response.iter_bytes():
                    for value in self._reader.values(chunk):
                        yield value
                    if self._reader.done:
                        return
            for value in self._reader.rest():
                yield value
        finally:
            self._response.close()
