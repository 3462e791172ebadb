"""Server-sent events: bytes in any pieces to events, events to the values of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

import httpx

from promptatlas.calls.call import Call, ServerEvent
from promptatlas.errors import BrokenStreamError, UnexpectedAnswerError, stream_error
from promptatlas.transport.httpx_errors import request_id_of, translated

T = TypeVar("T")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_DONE = "[DONE]"
# Types under which an error comes: an unnamed event's is ``message``.
_ERROR_EVENTS = ("message", "error")


class EventDecoder:
    """Reads an event stream that arrives cut anywhere, inside a line or a character too.

    httpx' own lines also end at U+2028 and its like, which JSON may hold unescaped.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._id = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that ``chunk`` completes."""
        self._rest += chunk
        events: list[ServerEvent] = []
        start = 0
        for end in _LINE_END.finditer(self._rest):
            if end.group() == b"\r" and end.end() == len(self._rest):
                break  # its line feed may be still to come
            events += self._line(self._rest[start : end.start()].decode(errors="replace"))
            start = end.end()
        self._rest = self._rest[start:]
        return events

    def finish(self) -> list[ServerEvent]:
        """What the end of the stream completes, where a server left the last blank line out."""
        return self.feed(b"\n\n")

    def _line(self, line: str) -> list[ServerEvent]:
        if not line:
            return self._dispatch()
        name, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            self._id = value
        return []

    def _dispatch(self) -> list[ServerEvent]:
        event = ServerEvent(event=self._event or "message", data="\n".join(self._data), id=self._id)
        found = [event] if self._data else []
        self._event, self._data = "", []
        return found


class _Reader(Generic[T]):
    """Turns chunks into values, and knows whether the stream may end here.

    done: the end mark came, so there is nothing more to read.
    """

    def __init__(self, response: httpx.Response, *, call: Call[T]) -> None:
        self._decoder = EventDecoder()
        self._call = call
        self._headers = response.headers
        self._may_end = False
        self.done = False

    def values(self, chunk: bytes) -> Iterator[T]:
        if self._call.following is not None:
            self._call.following.on_bytes()
        yield from self._values(self._decoder.feed(chunk))

    def rest(self) -> Iterator[T]:
        following = self._call.following
        if following is None:
            # Of a stream that can be opened again, an event that was cut off comes again.
            yield from self._values(self._decoder.finish())
        if not (self.done or self._may_end):
            mark = f"an event {following.last_event!r}" if following else _DONE
            raise BrokenStreamError(f"expected the stream to end in {mark}, but it broke off")

    def _values(self, events: list[ServerEvent]) -> Iterator[T]:
        for event in events:
            if self.done:
                return
            if event.data == _DONE:
                self.done = True
                return
            yield self._value(event)
            self._may_end = self._call.following is not None and event.event == self._call.following.last_event

    def _value(self, event: ServerEvent) -> T:
        parse = self._call.parse_event
        if parse is not None and event.event not in _ERROR_EVENTS:
            return parse(event)
        try:
            message = json.loads(event.data)
        except ValueError as cause:
            raise UnexpectedAnswerError(f"expected JSON in the stream, got {event.data[:80]!r}") from cause
        error = stream_error(message, self._headers)
        if error is not None:
            raise error
        return self._call.parse(event.data.encode()) if parse is None else parse(event)


class Stream(AbstractContextManager["Stream[T]"], Generic[T]):
    """The values of a streamed answer, as they come. Leaving it early frees its slot at the server.

    Iterating raises ProblemError for an error inside the stream, BrokenStreamError where the end mark is missing.
    """

    def __init__(self, response: httpx.Response, *, call: Call[T]) -> None:
        self._response = response
        self._reader = _Reader(response, call=call)
        self._values = self._read()

    @property
    def request_id(self) -> str | None:
        """What the server's log knows the request by."""
        return request_id_of(self._response)

    def __iter__(self) -> Iterator[T]:
        return self._values

    def __next__(self) -> T:
        return next(self._values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the stream."""
        self._response.close()

    def _read(self) -> Iterator[T]:
        try:
            with translated():
                for chunk in self._response.iter_bytes():
                    yield from self._reader.values(chunk)
                    if self._reader.done:
                        return
            yield from self._reader.rest()
        finally:
            self._response.close()


class AsyncStream(AbstractAsyncContextManager["AsyncStream[T]"], Generic[T]):
    """The values of a streamed answer, as they come; see Stream."""

    def __init__(self, response: httpx.Response, *, call: Call[T]) -> None:
        self._response = response
        self._reader = _Reader(response, call=call)
        self._values = self._read()

    @property
    def request_id(self) -> str | None:
        """What the server's log knows the request by."""
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
        """Stops the stream."""
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
