"""How a run may change: from how it stands to how it stands next, and the events that tell of it. Nothing is written here.

queued ──begun──▶ running ──ended──▶ succeeded, failed or cancelled
   ▲                │                       │
   ├───died, released                       │
   └──────────────resumed───────────────────┘ (not succeeded)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from service.errors import Conflict
from service.store.runs.records import Chunk, EndStatus, NewEvent, RunState, cut, done_data, status_data


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a run stands next, and what is said about it; at least one event."""

    state: RunState
    events: tuple[NewEvent, ...]


Decision = Callable[[Chunk], Change | None]
"""What shall happen to a run whose log ends with this chunk; None for nothing."""


def create(*, now: str) -> Change:
    """A new run, queued."""
    return _status_change(RunState(status="queued"), now=now)


def begin(state: RunState, *, run_id: str, worker: str, now: str) -> Change:
    """The next attempt; Conflict unless the run is queued."""
    if state.status != "queued":
        raise Conflict(f"Run {run_id} cannot be begun: it is {state.status}, not queued.")
    number = state.attempts + 1
    state = replace(state, status="running", attempts=number, started_at=state.started_at or now)
    return _status_change(state, now=now, attempt=number, worker=worker)


def cancel(state: RunState, *, run_id: str, now: str) -> Change | None:
    """A queued run ends; a running one is asked to stop; Conflict for one that has ended."""
    if state.has_ended:
        raise Conflict(f"Run {run_id} cannot be cancelled: it is {state.status} already.")
    if state.status == "queued":
        return end(state, "cancelled", now=now)
    if state.cancel_requested:
        return None
    return Change(state=replace(state, cancel_requested=True), events=(_log("The run was asked to stop.", now=now),))


def resume(state: RunState, *, run_id: str, next_id: int, now: str) -> Change:
    """A run that failed or was cancelled is queued again; Conflict otherwise. next_id: of the event that says so."""
    advice = {
        "queued": "it waits for a worker already",
        "running": "it is being worked on; cancel it first to begin it again",
        "succeeded": "there is nothing left of it to do; start a new run with the same spec",
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
    """An attempt is dead: queued again, failed after so many deaths, or cancelled if that was asked for.

    None if it is not the attempt that is running.
    """
    if state.status != "running" or state.attempts != attempt:
        return None
    state = replace(state, n_deaths=state.n_deaths + 1)
    said = _log(f"Attempt {attempt} died: {cut(reason)}", now=now, level="warning")
    if state.cancel_requested:
        return end(state, "cancelled", now=now, said=(said,))
    if state.n_deaths >= max_attempts:
        return end(state, "failed", error=reason, now=now, said=(said,))
    return _status_change(replace(state, status="queued"), now=now, said=(said,))


def release(state: RunState, *, reason: str, now: str) -> Change:
    """Its worker gives a running run back: queued again, or cancelled if that was asked for."""
    said = _log(cut(reason), now=now)
    if state.cancel_requested:
        return end(state, "cancelled", now=now, said=(said,))
    return _status_change(replace(state, status="queued"), now=now, said=(said,))


def end(
    state: RunState,
    status: EndStatus,
    *,
    now: str,
    metrics: Mapping[str, float] | None = None,
    error: str | None = None,
    said: tuple[NewEvent, ...] = (),
) -> Change:
    """The run is over. said: events to put before the ``done`` event."""
    state = replace(
        state,
        status=status,
        metrics=dict(metrics or {}),
        error=None if error is None else cut(error),
        cancel_requested=False,
        ended_at=now,
    )
    return Change(state=state, events=(*said, NewEvent(type="done", time=now, data=done_data(state))))


def _status_change(state: RunState, *, now: str, said: tuple[NewEvent, ...] = (), **more: object) -> Change:
    return Change(state=state, events=(*said, NewEvent(type="status", time=now, data=status_data(state, **more))))


def _log(text: str, *, now: str, level: str = "info") -> NewEvent:
    return NewEvent(type="log", time=now, data={"level": level, "text": text})
