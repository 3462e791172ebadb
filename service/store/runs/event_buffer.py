"""What a worker has said and nobody has written yet: events in order, cut into chunks of bounded size."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from promptatlas.types.runs import EventType

from service.errors import InvalidRequest
from service.store.artifacts.sealed_records import canonical_json
from service.store.runs.records import NewEvent, cut, finite_json

MAX_EVENT_BYTES = 65_536
MAX_CHUNK_EVENTS = 500
MAX_CHUNK_BYTES = 1_048_576


class EventBuffer:
    """Safe to share between threads; no call waits for a disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[NewEvent, int]] = deque()

    def add(self, event_type: EventType, data: Mapping[str, Any], *, now: str) -> None:
        """Add an event. Numbers that are not finite become null, long texts of a ``log`` are cut.

        Raises:
            InvalidRequest: it is over MAX_EVENT_BYTES, or a ``metric`` without a whole number ``step``.
        """
        kept = finite_json(data)
        if event_type == "metric" and not isinstance(kept.get("step"), int):
            raise InvalidRequest(f"A metric event has a whole number 'step'; here it is {kept.get('step')!r}.")
        if isinstance(kept.get("text"), str):
            kept["text"] = cut(kept["text"])
        n_bytes = len(canonical_json(kept))
        if n_bytes > MAX_EVENT_BYTES:
            raise InvalidRequest(f"An event has at most {MAX_EVENT_BYTES} bytes of JSON; this one has {n_bytes}.")
        with self._lock:
            self._events.append((NewEvent(type=event_type, time=now, data=kept), n_bytes))

    def first(self) -> tuple[NewEvent, ...]:
        """As many of the first events as one chunk may hold; they stay until they are dropped."""
        found: list[NewEvent] = []
        n_bytes = 0
        with self._lock:
            for event, size in self._events:
                n_bytes += size
                if len(found) == MAX_CHUNK_EVENTS or n_bytes > MAX_CHUNK_BYTES:
                    break
                found.append(event)
        return tuple(found)

    def drop(self, n_events: int) -> None:
        """Forget the first events: they are written."""
        with self._lock:
            for _ in range(min(n_events, len(self._events))):
                self._events.popleft()
