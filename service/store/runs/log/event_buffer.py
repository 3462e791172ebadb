"""Buffer of events that are not written yet, read in chunks of bounded size."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from promptatlas.types.runs import EventType

from service.errors import InvalidRequest
from service.store.artifacts.sealed_records import canonical_json
from service.store.runs.records import NewEvent, finite_json, truncate

MAX_EVENT_BYTES = 65_536
MAX_CHUNK_EVENTS = 500
MAX_CHUNK_BYTES = 1_048_576


class EventBuffer:
    """Thread-safe buffer of new events; no call waits for the disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[NewEvent, int]] = deque()

    def add(self, event_type: EventType, data: Mapping[str, Any], *, now: str) -> None:
        """Add an event. Non-finite numbers become null, long log texts are truncated.

        Raises:
            InvalidRequest: It is larger than MAX_EVENT_BYTES, or a ``metric`` without an integer ``step``.
        """
        kept = finite_json(data)
        if event_type == "metric" and not isinstance(kept.get("step"), int):
            raise InvalidRequest(f"A metric event needs an integer 'step'; got {kept.get('step')!r}.")
        if isinstance(kept.get("text"), str):
            kept["text"] = truncate(kept["text"])
        n_bytes = len(canonical_json(kept))
        if n_bytes > MAX_EVENT_BYTES:
            raise InvalidRequest(f"An event has at most {MAX_EVENT_BYTES} bytes of JSON; this event has {n_bytes}.")
        with self._lock:
            self._events.append((NewEvent(type=event_type, time=now, data=kept), n_bytes))

    def first(self) -> tuple[NewEvent, ...]:
        """The first events, as many as fit one chunk; they remain until ``drop``."""
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
        """Remove the first events after they were written."""
        with self._lock:
            for _ in range(min(n_events, len(self._events))):
                self._events.popleft()
