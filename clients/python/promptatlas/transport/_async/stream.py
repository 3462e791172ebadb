"""Stream of the values of a response."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar, cast

import httpx
from httpx_sse import EventSource

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
        if call.following is not None:
            response.stream = AsyncCheckedBytes(
                cast(httpx.AsyncByteStream, response.stream), check=call.following.on_bytes
            )
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
                async for event in EventSource(self._response).aiter_sse():
                    for value in self._reader.values(event):
                        yield value
                    if self._reader.done:
                        return
            self._reader.check_end()
        finally:
            await self._response.aclose()


class AsyncCheckedBytes(httpx.AsyncByteStream):
    """The bytes of a response. ``check`` is called for each chunk, also for those that complete no event."""

    def __init__(self, stream: httpx.AsyncByteStream, *, check: Callable[[], None]) -> None:
        self._stream = stream
        self._check = check

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._check()
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
