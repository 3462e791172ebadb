"""A run's events as they happen, by server-sent events: ``id``, ``event`` (the type) and ``data`` (JSON).

The stream ends behind ``done``, or where the server stops. Those of a finished run come again from the beginning, or from
behind the id that the client already knows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query
from promptatlas.types import EventType
from starlette.responses import StreamingResponse

from service.api.openai.answering import EVENTS_TYPE
from service.api.requests.auth import Reader
from service.api.requests.run_paths import RunId
from service.api.responses.openapi import problems
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
        "id": {"type": "string", "description": "Number of the event, to send as `Last-Event-ID`."},
        "event": {"type": "string", "enum": list(EventType.__args__)},  # type: ignore[attr-defined]
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"type": "object"}},
    },
    "required": ["data"],
}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often to look for events: after ``least_s`` while some come, ever later, up to ``most_s``, while none do.

    heartbeat_s: the longest silence; then a comment is sent, so that a dead connection is noticed at both ends.
    """

    least_s: float = 0.5
    most_s: float = 2.0
    heartbeat_s: float = 10.0


class EventFeed:
    """The events of one run from one id on.

    Args:
        runs: where they are stored; asked in a thread.
        after: the last id that is known already.
        stopping: whether the server wants to end its streams.
        sleep: of the event loop.
    """

    def __init__(
        self,
        runs: RunStore,
        run_id: str,
        *,
        after: int,
        stopping: Callable[[], bool],
        pace: Pace | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._runs = runs
        self._run_id = run_id
        self._last_id = after
        self._stopping = stopping
        self._pace = pace or Pace()
        self._sleep = sleep
        self._is_over = False

    async def open(self) -> AsyncIterator[bytes]:
        """Look for the first time, so that what is wrong is raised here, and return the stream.

        Raises:
            NotFound: there is no such run.
            DamagedArtifact, Unavailable: it cannot be read.
        """
        # In this order: a run that has ended by now has all its events stored.
        _, state = await asyncio.to_thread(self._runs.get, self._run_id)
        first = await self._look()
        self._is_over = self._is_over or (state.has_ended and not first)
        return self._stream(first)

    async def _stream(self, events: list[StoredEvent]) -> AsyncIterator[bytes]:
        wait_s = self._pace.least_s
        silent_s = 0.0
        yield b": events of a run\n\n"
        while True:
            if events:
                yield b"".join(map(encode_event, events))
                wait_s, silent_s = self._pace.least_s, 0.0
            if self._is_over or self._stopping():
                return
            if len(events) < _N_AT_ONCE:
                await self._sleep(wait_s)
                silent_s += wait_s
                wait_s = min(wait_s * _BACKOFF, self._pace.most_s)
            if silent_s >= self._pace.heartbeat_s:
                yield b": still here\n\n"
                silent_s = 0.0
            events = await self._look_again()

    async def _look(self) -> list[StoredEvent]:
        found = await asyncio.to_thread(self._runs.events, self._run_id, after=self._last_id, limit=_N_AT_ONCE)
        if found:
            self._last_id = found[-1].id
            self._is_over = found[-1].type == "done" and len(found) < _N_AT_ONCE
        return found

    async def _look_again(self) -> list[StoredEvent]:
        try:
            return await self._look()
        except Unavailable as error:
            _log.warning("events out of reach", run_id=self._run_id, error=error.detail)
            return []


def encode_event(event: StoredEvent) -> bytes:
    """One server-sent event; JSON has no line ends of its own."""
    data = json.dumps(dict(event.data), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n".encode()


@router.get(
    "/v1/runs/{run_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events until `done`.", "content": {EVENTS_TYPE: {"itemSchema": _EVENT_SCHEMA}}},
        **problems(401, 403, 404, 422, 500, 503),
    },
)
async def events(
    services: ServicesDep,
    _caller: Reader,
    run_id: RunId,
    after: Annotated[int, Query(ge=0, le=_MAX_ID, description="Begin behind the event with this id.")] = 0,
    last_event_id: Annotated[
        int, Header(alias="Last-Event-ID", ge=0, le=_MAX_ID, description="The same, as browsers send it.")
    ] = 0,
) -> StreamingResponse:
    """Follow a run: `status`, `metric`, `log`, and `done` at the end."""

    def stopping() -> bool:
        return services.hub.draining

    feed = EventFeed(services.runs, run_id, after=max(after, last_event_id), stopping=stopping)
    stream = await feed.open()
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type=EVENTS_TYPE, headers=headers)
