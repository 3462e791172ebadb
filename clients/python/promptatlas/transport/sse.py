"""Conversion of server-sent events to values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Generic, TypeVar

import httpx
from httpx_sse import ServerSentEvent

from promptatlas.errors import BrokenStreamError, UnexpectedAnswerError, stream_error
from promptatlas.transport.call import Call

T = TypeVar("T")
_DONE = "[DONE]"
# Types of events that may hold an error. The type of an unnamed event is ``message``.
_ERROR_EVENTS = ("message", "error")


class EventReader(Generic[T]):
    """Converts events of a response to values, and checks that the stream ends where it may.

    done: the end mark was received, so nothing more needs to be read.
    """

    def __init__(self, response: httpx.Response, *, call: Call[T]) -> None:
        self._call = call
        self._headers = response.headers
        self._may_end = False
        self.done = False

    def values(self, event: ServerSentEvent) -> Iterator[T]:
        """The value of an event, if it has one. Raises ProblemError for an error event."""
        if not event.data:
            return
        if event.data == _DONE:
            self.done = True
            return
        yield self._value(event)
        self._may_end = self._call.following is not None and event.event == self._call.following.last_event

    def check_end(self) -> None:
        """Raises BrokenStreamError if the stream may not end here."""
        if not (self.done or self._may_end):
            following = self._call.following
            mark = f"an event {following.last_event!r}" if following else _DONE
            raise BrokenStreamError(f"expected the stream to end in {mark}, but it broke off")

    def _value(self, event: ServerSentEvent) -> T:
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
