"""Stream of the values of a response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar

import httpx

from promptatlas.transport.call import Call
from promptatlas.transport.httpx_errors import request_id_of, translated
from promptatlas.transport.sse import EventReader

T = TypeVar("T")


class AsyncStream(AbstractAsyncContextManager["AsyncStream[T]"], Generic[T]):
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

    def __aiter__(self) -> AsyncIterator[T]:
        return self._values

    async def __anext__(self) -> T:
        return await self._values.__anext__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._response.aclose()

    async def _read(self) -> AsyncIterator[T]:
        try:
            with translated():
                async for chunk in self._response.aiter_bytes():
                    for value in self._reader.values(chunk):
                        yield value
                    if self._reader.done:
                        return
            for value in self._reader.rest():
                yield value
        finally:
            await self._response.aclose()
