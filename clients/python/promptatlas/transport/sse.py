"""Server-sent events: decoding of bytes to events, and of events to values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Generic, TypeVar

import httpx

from promptatlas.errors import BrokenStreamError, UnexpectedAnswerError, stream_error
from promptatlas.transport.call import Call, ServerEvent

T = TypeVar("T")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_DONE = "[DONE]"
# Types of events that may hold an error. The type of an unnamed event is ``message``.
_ERROR_EVENTS = ("message", "error")


class EventDecoder:
    """Incremental decoder. Chunks may end anywhere, even inside a character.

    ``httpx.Response.iter_lines`` is no alternative: it also splits at U+2028 and similar, which JSON may contain unescaped.
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
                break  # the line feed may be in the next chunk
            events += self._line(self._rest[start : end.start()].decode(errors="replace"))
            start = end.end()
        self._rest = self._rest[start:]
        return events

    def finish(self) -> list[ServerEvent]:
        """The event that the end of the stream completes, for servers that omit the last blank line."""
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
        events = [event] if self._data else []
        self._event, self._data = "", []
        return events


class EventReader(Generic[T]):
    """Converts chunks of a response to values, and checks that the stream ends where it may.

    done: the end mark was received, so nothing more needs to be read.
    """

    def __init__(self, response: httpx.Response, *, call: Call[T]) -> None:
        self._decoder = EventDecoder()
        self._call = call
        self._headers = response.headers
        self._may_end = False
        self.done = False

    def values(self, chunk: bytes) -> Iterator[T]:
        """The values that ``chunk`` completes. Raises ProblemError for an error event."""
        if self._call.following is not None:
            self._call.following.on_bytes()
        yield from self._values(self._decoder.feed(chunk))

    def rest(self) -> Iterator[T]:
        """The values that the end of the stream completes. Raises BrokenStreamError if it ended too early."""
        following = self._call.following
        if following is None:
            # A reopened stream repeats an event that was cut off, so only other streams decode the rest.
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
