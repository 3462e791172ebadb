"""Reading a run's log: events from anywhere in it, and the curve that its metrics make."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from service.store.runs.log import RunLog
from service.store.runs.records import Chunk, StoredEvent


def events_after(log: RunLog, run_id: str, *, after: int, limit: int) -> list[StoredEvent]:
    """The first ``limit`` events with ids greater than ``after``; damaged chunks are logged and left out.

    Raises:
        DamagedArtifact: the last chunk is not what was written.
    """
    head = log.head(run_id)
    found: list[StoredEvent] = []
    for chunk in _chunks_after(log, run_id, after=after, head=head):
        found += (event for event in _told(chunk, head=head) if event.id > after)
        if len(found) >= limit:
            break
    return found[:limit]


def curve_of(log: RunLog, run_id: str) -> list[dict[str, Any]]:
    """One point for each (step, member), in order of step; a number said later replaces one said before."""
    points: dict[tuple[int, str | None], dict[str, Any]] = {}
    for chunk in log.read(run_id, log.first_ids(run_id)):
        for event in chunk.events:
            if event.type == "metric":
                points.setdefault((event.data["step"], event.data.get("member")), {}).update(event.data)
    return sorted(points.values(), key=lambda point: int(point["step"]))


def _chunks_after(log: RunLog, run_id: str, *, after: int, head: Chunk) -> Iterator[Chunk]:
    """The chunks with events behind ``after``, up to the one that is known to be the last."""
    # Whoever follows a run is mostly here, and need not list all that went before.
    if after + 1 < head.first_id:
        first_ids = [first_id for first_id in log.first_ids(run_id) if first_id < head.first_id]
        start = max(bisect_right(first_ids, after + 1) - 1, 0)
        yield from log.read(run_id, first_ids[start:])
    yield head


def _told(chunk: Chunk, *, head: Chunk) -> list[StoredEvent]:
    """The chunk's events; ``done`` only where the run has really ended, and was not resumed since."""
    is_last = chunk.first_id == head.first_id
    return [
        replace(event, type="status") if event.type == "done" and not is_last else event for event in chunk.numbered()
    ]
