"""Reading a run's log: events from anywhere in it, and the curve that its metrics make."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Any

from service.store.prompt_versions import log_damage
from service.store.run_log import RunLog
from service.store.run_records import Chunk, StoredEvent


def events_after(log: RunLog, run_id: str, *, after: int, limit: int) -> list[StoredEvent]:
    """The first ``limit`` events with ids greater than ``after``; damaged chunks are logged and left out."""
    first_ids = log.first_ids(run_id)
    start = max(bisect_right(first_ids, after + 1) - 1, 0)
    found: list[StoredEvent] = []
    for chunk in log.read(run_id, first_ids[start:], on_damage=log_damage):
        is_last = chunk.first_id == first_ids[-1]
        found += (event for event in _told(chunk, is_last=is_last) if event.id > after)
        if len(found) >= limit:
            break
    return found[:limit]


def curve_of(log: RunLog, run_id: str) -> list[dict[str, Any]]:
    """One point for each (step, member), in order of step; what is said later replaces what was said before."""
    points: dict[tuple[int, str | None], dict[str, Any]] = {}
    for chunk in log.read(run_id, log.first_ids(run_id), on_damage=log_damage):
        for event in chunk.events:
            if event.type == "metric":
                points.setdefault((event.data["step"], event.data.get("member")), {}).update(event.data)
    return sorted(points.values(), key=lambda point: int(point["step"]))


def _told(chunk: Chunk, *, is_last: bool) -> list[StoredEvent]:
    """The chunk's events; ``done`` only where the run has really ended, and was not resumed since."""
    return [
        replace(event, type="status") if event.type == "done" and not is_last else event for event in chunk.numbered()
    ]
