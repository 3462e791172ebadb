"""State transitions of a run, as pure functions: the next state and its events.

queued ──begin──▶ running ──end──▶ succeeded, failed or cancelled
   ▲                │                     │
   ├─record_death, release                │
   └──────────────resume──────────────────┘ (not succeeded)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from service.errors import Conflict
from service.store.runs.records import Chunk, EndStatus, NewEvent, RunState, done_data, status_data, truncate


@dataclass(frozen=True, kw_only=True)
class Change:
    """The next state of a run and the events of the change, at least one."""

    state: RunState
    events: tuple[NewEvent, ...]


Decision = Callable[[Chunk], Change | None]
"""Decides on the next change of a run, given the last chunk of its log; None for no change."""


def chunk_of(change: Change, *, first_id: int) -> Chunk:
    """A change as a chunk of a new writer. first_id: id of its first event."""
    return Chunk(first_id=first_id, events=change.events, state=change.state, writer=secrets.token_hex(8))


def uses_reserve(before: RunState, after: RunState) -> bool:
    """Whether a change is recorded on a full disk too, so that a run does not appear to run when it has ended."""
    is_moved = (before.status, before.cancel_requested) != (after.status, after.cancel_requested)
    return is_moved and (after.status != "running" or after.cancel_requested)


def create(*, now: str) -> Change:
    """A new queued run."""
    return _status_change(RunState(status="queued"), now=now)


def begin(state: RunState, *, run_id: str, worker: str, now: str) -> Change:
    """Start the next attempt; Conflict unless the run is queued."""
    if state.status != "queued":
        raise Conflict(f"Run {run_id} cannot be started: it is {state.status}, not queued.")
    number = state.attempts + 1
    state = replace(state, status="running", attempts=number, started_at=state.started_at or now)
    return _status_change(state, now=now, attempt=number, worker=worker)


def cancel(state: RunState, *, run_id: str, now: str) -> Change | None:
    """End a queued run, or request that a running one stops; Conflict if it has ended."""
    if state.has_ended:
        raise Conflict(f"Run {run_id} is {state.status} and cannot be cancelled.")
    if state.status == "queued":
        return end(state, "cancelled", now=now)
    if state.cancel_requested:
        return None
    return Change(state=replace(state, cancel_requested=True), events=(_log("Cancellation was requested.", now=now),))


def annotate(state: RunState, *, notes: str | None, tags: Sequence[str] | None, now: str) -> Change | None:
    """Set notes and tags; None: as before. The status stays, and ``done`` remains the last event of an ended run."""
    changed = replace(
        state,
        notes=state.notes if notes is None else notes,
        tags=state.tags if tags is None else tuple(dict.fromkeys(tags)),
    )
    if changed == state:
        return None
    if state.has_ended:
        return Change(state=changed, events=(NewEvent(type="done", time=now, data=done_data(changed)),))
    return Change(state=changed, events=(NewEvent(type="status", time=now, data=status_data(changed)),))


def resume(state: RunState, *, run_id: str, next_id: int, now: str) -> Change:
    """Queue a failed or cancelled run again; Conflict otherwise. next_id: id of the event of this change."""
    advice = {
        "queued": "it is already waiting for a worker",
        "running": "cancel it first to restart it",
        "succeeded": "start a new run with the same spec",
    }
    if state.status in advice:
        raise Conflict(f"Run {run_id} is {state.status} and cannot be resumed: {advice[state.status]}.")
    state = replace(
        state,
        status="queued",
        n_deaths=0,
        metrics={},
        error=None,
        cancel_requested=False,
        ended_at=None,
        queued_id=next_id,
    )
    return _status_change(state, now=now)


def record_death(state: RunState, *, attempt: int, reason: str, max_attempts: int, now: str) -> Change | None:
    """Queue the run again after its worker died, fail it after ``max_attempts`` deaths, or cancel it if requested.

    None if ``attempt`` is not the running attempt.
    """
    if state.status != "running" or state.attempts != attempt:
        return None
    state = replace(state, n_deaths=state.n_deaths + 1)
    event = _log(f"Attempt {attempt} died: {truncate(reason)}", now=now, level="warning")
    if state.cancel_requested:
        return end(state, "cancelled", now=now, before=(event,))
    if state.n_deaths >= max_attempts:
        return end(state, "failed", error=reason, now=now, before=(event,))
    return _status_change(replace(state, status="queued"), now=now, before=(event,))


def release(state: RunState, *, reason: str, now: str) -> Change:
    """Return a running run to the queue on behalf of its worker, or cancel it if requested."""
    event = _log(truncate(reason), now=now)
    if state.cancel_requested:
        return end(state, "cancelled", now=now, before=(event,))
    return _status_change(replace(state, status="queued"), now=now, before=(event,))


def end(
    state: RunState,
    status: EndStatus,
    *,
    now: str,
    metrics: Mapping[str, float] | None = None,
    error: str | None = None,
    before: tuple[NewEvent, ...] = (),
) -> Change:
    """End the run. before: events that precede the ``done`` event."""
    state = replace(
        state,
        status=status,
        metrics=dict(metrics or {}),
        error=None if error is None else truncate(error),
        cancel_requested=False,
        ended_at=now,
    )
    return Change(state=state, events=(*before, NewEvent(type="done", time=now, data=done_data(state))))


def _status_change(state: RunState, *, now: str, before: tuple[NewEvent, ...] = (), **more: object) -> Change:
    return Change(state=state, events=(*before, NewEvent(type="status", time=now, data=status_data(state, **more))))


def _log(text: str, *, now: str, level: str = "info") -> NewEvent:
    return NewEvent(type="log", time=now, data={"level": level, "text": text})
