"""``GET /v1/runs/{id}/events``: server-sent events with ``id``, ``event`` (the type) and ``data`` (JSON).

The stream ends after ``done``, or when the server stops. For a finished run it contains all events, or those after the id
that the client already has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query
from fastapi.sse import format_sse_event
from promptatlas.types import EventType
from starlette.responses import StreamingResponse

from service.api.requests.auth import Reader
from service.api.requests.parameters import RunId
from service.api.responses.openapi import EVENTS_TYPE, problems
from service.api.services import ServicesDep
from service.errors import Unavailable
from service.store.runs.records import StoredEvent
from service.store.runs.store import RunStore

router = APIRouter(tags=["runs"])

_MAX_ID = 2**53
_N_AT_ONCE = 1000
_BACKOFF = 1.3
_log = structlog.get_logger(__name__)

_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Number of the event; a client resumes with it as `Last-Event-ID`."},
        "event": {"type": "string", "enum": list(EventType.__args__)},  # type: ignore[attr-defined]
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"type": "object"}},
    },
    "required": ["data"],
}


@dataclass(frozen=True, kw_only=True)
class Polling:
    """How often to poll for events: every ``least_s`` while there are some, then with a growing delay up to ``most_s``.

    heartbeat_s: after that time without events a comment is sent, so that both ends notice a dead connection.
    """

    least_s: float = 0.5
    most_s: float = 2.0
    heartbeat_s: float = 10.0


class EventFeed:
    """The events of one run after one id.

    Args:
        runs: read in a thread.
        after: the last id that the client has.
        stopping: whether the server is shutting down.
        sleep: of the event loop.
    """

    def __init__(
        self,
        runs: RunStore,
        run_id: str,
        *,
        after: int,
        stopping: Callable[[], bool],
        polling: Polling | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._runs = runs
        self._run_id = run_id
        self._last_id = after
        self._stopping = stopping
        self._polling = polling or Polling()
        self._sleep = sleep
        self._is_over = False

    async def open(self) -> AsyncIterator[bytes]:
        """Read the first events, so that errors are raised here, and return the stream.

        Raises:
            NotFound: no such run.
            DamagedArtifact, Unavailable: it cannot be read.
        """
        # The state first: all events of a run that has ended by then are stored.
        _, state = await asyncio.to_thread(self._runs.get, self._run_id)
        first = await self._read()
        self._is_over = self._is_over or (state.has_ended and not first)
        return self._stream(first)

    async def _stream(self, events: list[StoredEvent]) -> AsyncIterator[bytes]:
        wait_s = self._polling.least_s
        silent_s = 0.0
        yield b": events of a run\n\n"
        while True:
            if events:
                yield b"".join(map(encode_event, events))
                wait_s, silent_s = self._polling.least_s, 0.0
            if self._is_over or self._stopping():
                return
            if len(events) < _N_AT_ONCE:
                await self._sleep(wait_s)
                silent_s += wait_s
                wait_s = min(wait_s * _BACKOFF, self._polling.most_s)
            if silent_s >= self._polling.heartbeat_s:
                yield b": still here\n\n"
                silent_s = 0.0
            events = await self._read_if_available()

    async def _read(self) -> list[StoredEvent]:
        found = await asyncio.to_thread(self._runs.events, self._run_id, after=self._last_id, limit=_N_AT_ONCE)
        if found:
            self._last_id = found[-1].id
            self._is_over = found[-1].type == "done" and len(found) < _N_AT_ONCE
        return found

    async def _read_if_available(self) -> list[StoredEvent]:
        try:
            return await self._read()
        except Unavailable as error:
            _log.warning("events unreachable", run_id=self._run_id, error=error.detail)
            return []


def encode_event(event: StoredEvent) -> bytes:
    """One server-sent event."""
    # Curves over seconds need the time of each point.
    extra = {"time": event.time} if event.type == "metric" else {}
    data = json.dumps({**event.data, **extra}, separators=(",", ":"))
    return format_sse_event(id=str(event.id), event=event.type, data_str=data)


@router.get(
    "/v1/runs/{run_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events, ending with `done`.", "content": {EVENTS_TYPE: {"itemSchema": _EVENT_SCHEMA}}},
        **problems(401, 403, 404, 422, 500, 503),
    },
)
async def events(
    services: ServicesDep,
    _caller: Reader,
    run_id: RunId,
    after: Annotated[int, Query(ge=0, le=_MAX_ID, description="Only events after this id.")] = 0,
    last_event_id: Annotated[
        int,
        Header(
            alias="Last-Event-ID",
            ge=0,
            le=_MAX_ID,
            description="The same as `after`, sent by browsers.",
        ),
    ] = 0,
) -> StreamingResponse:
    """Stream the events of a run: `status`, `metric`, `log`, and finally `done`."""

    def stopping() -> bool:
        return services.engine.draining

    feed = EventFeed(services.runs, run_id, after=max(after, last_event_id), stopping=stopping)
    stream = await feed.open()
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type=EVENTS_TYPE, headers=headers)
