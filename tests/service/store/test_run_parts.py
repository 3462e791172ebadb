"""The small parts under the run store: ids, the buffer of events, changes of state, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest
from promptatlas.types.runs import RunStatus

from service.errors import Conflict, DamagedArtifact, InvalidRequest
from service.store.artifacts.sealed_records import canonical_json
from service.store.runs.ids import RunIds, is_run_id, made_at
from service.store.runs.log.event_buffer import MAX_CHUNK_BYTES, MAX_CHUNK_EVENTS, MAX_EVENT_BYTES, EventBuffer
from service.store.runs.records import ENDED, MAX_TEXT, Chunk, RunProgress, RunState
from service.store.runs.transitions import Change, begin, cancel, create, end, record_death, release, resume

NOW = "2026-11-24T12:00:00.000000Z"
STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)


def test_ids_sort_by_time_even_when_the_clock_goes_back(clock: Any) -> None:
    ids = RunIds()
    made = []
    for seconds in (0, 0, 0.000001, 5, -20, 1000, 3e9):
        clock.advance(seconds=seconds)
        made.append(ids.new(clock.now))
    assert made == sorted(set(made))
    assert all(map(is_run_id, made))


def test_an_id_tells_when_it_was_made(clock: Any) -> None:
    one, two = RunIds().new(clock.now), RunIds().new(clock.now + timedelta(microseconds=1))
    assert made_at(one) == clock.now
    assert one < two


@pytest.mark.parametrize("text", ["", "run-", "../x", "run-" + "u" * 17, "run-" + "0" * 16, "RUN-" + "0" * 17])
def test_what_is_no_id(text: str) -> None:
    assert not is_run_id(text)


def test_the_buffer_cuts_by_number_and_by_size() -> None:
    buffer = EventBuffer()
    for step in range(MAX_CHUNK_EVENTS + 1):
        buffer.add("metric", {"step": step}, now=NOW)
    first = buffer.first()
    assert [event.data["step"] for event in first] == list(range(MAX_CHUNK_EVENTS))
    assert buffer.first() == first
    buffer.drop(len(first))
    assert [event.data["step"] for event in buffer.first()] == [MAX_CHUNK_EVENTS]
    buffer.drop(5)
    assert buffer.first() == ()
    for _ in range(30):
        buffer.add("status", {"x": "y" * (MAX_EVENT_BYTES - 10)}, now=NOW)
    cut_at = len(buffer.first())
    assert 10 < cut_at < 30
    assert sum(len(canonical_json(event.data)) for event in buffer.first()) <= MAX_CHUNK_BYTES


def test_what_the_buffer_refuses_and_mends() -> None:
    buffer = EventBuffer()
    with pytest.raises(InvalidRequest, match="at most 65536 bytes"):
        buffer.add("status", {"x": "y" * MAX_EVENT_BYTES}, now=NOW)
    with pytest.raises(InvalidRequest, match="integer 'step'"):
        buffer.add("metric", {"loss": 1.0}, now=NOW)
    nan = float("nan")
    buffer.add("metric", {"step": 1, "loss": nan, "deep": [{"x": -float("inf")}, 2.5]}, now=NOW)
    buffer.add("log", {"level": "info", "text": "😀" * 100_000}, now=NOW)
    metric, log = buffer.first()
    assert metric.data == {"step": 1, "loss": None, "deep": [{"x": None}, 2.5]}
    assert len(log.data["text"]) == MAX_TEXT


@pytest.mark.parametrize("status", STATUSES)
def test_what_may_happen_to_a_run(status: RunStatus) -> None:
    state = RunState(status=status, attempts=2, n_deaths=1, error="why", metrics={"a": 1.0})
    allowed = {
        "begun": status == "queued",
        "cancelled": status in ("queued", "running"),
        "resumed": status in ("failed", "cancelled"),
    }
    changes: dict[str, Callable[[], Change | None]] = {
        "begun": lambda: begin(state, run_id="r", worker="w", now=NOW),
        "cancelled": lambda: cancel(state, run_id="r", now=NOW),
        "resumed": lambda: resume(state, run_id="r", next_id=9, now=NOW),
    }
    for name, change in changes.items():
        if allowed[name]:
            assert isinstance(change(), Change)
        else:
            with pytest.raises(Conflict, match=f"Run r.* is {status}"):
                change()
    death = record_death(state, attempt=2, reason="gone", max_attempts=3, now=NOW)
    assert (death is None) == (status != "running")


@pytest.mark.parametrize(
    ("status", "advice"),
    [("queued", "already waiting for a worker"), ("running", "cancel it first"), ("succeeded", "start a new run")],
)
def test_a_refused_resume_says_what_to_do(status: RunStatus, advice: str) -> None:
    with pytest.raises(Conflict, match=advice):
        resume(RunState(status=status), run_id="r", next_id=9, now=NOW)


def test_a_death_counts_until_the_run_fails() -> None:
    state = RunState(status="running", attempts=4, n_deaths=1)
    once = record_death(state, attempt=4, reason="gone", max_attempts=3, now=NOW)
    assert once is not None
    assert (once.state.status, once.state.n_deaths) == ("queued", 2)
    last = record_death(state, attempt=4, reason="x" * 99_999, max_attempts=2, now=NOW)
    assert last is not None
    assert (last.state.status, last.state.ended_at) == ("failed", NOW)
    assert last.state.error == "x" * (MAX_TEXT - 1) + "…"
    assert [event.type for event in last.events] == ["log", "done"]
    assert record_death(state, attempt=3, reason="late", max_attempts=2, now=NOW) is None


def test_whoever_was_asked_to_stop_is_cancelled_and_not_queued_again() -> None:
    state = RunState(status="running", attempts=1, cancel_requested=True)
    death = record_death(state, attempt=1, reason="gone", max_attempts=3, now=NOW)
    assert death is not None
    for change in (death, release(state, reason="shutting down", now=NOW)):
        assert (change.state.status, change.state.cancel_requested) == ("cancelled", False)
        assert change.events[-1].data["status"] == "cancelled"
    assert cancel(state, run_id="r", now=NOW) is None


def test_a_resumed_run_begins_a_new_life() -> None:
    state = RunState(
        status="failed",
        attempts=3,
        n_deaths=3,
        error="why",
        metrics={"a": 1.0},
        started_at=NOW,
        ended_at=NOW,
        prompts=("qa@1",),
        has_checkpoint=True,
        progress=RunProgress(step=7, total=9),
    )
    again = resume(state, run_id="r", next_id=21, now=NOW).state
    assert again == RunState(
        status="queued",
        attempts=3,
        started_at=NOW,
        prompts=("qa@1",),
        has_checkpoint=True,
        progress=RunProgress(step=7, total=9),
        queued_id=21,
    )
    assert begin(again, run_id="r", worker="w", now="later").state.started_at == NOW


@pytest.mark.parametrize("status", sorted(ENDED))
def test_the_last_event_says_what_the_state_says(status: Any) -> None:
    change = end(RunState(status="running"), status, metrics={"test/f1": 0.5}, error="why", now=NOW)
    assert change.events[-1].type == "done"
    assert change.events[-1].data == {
        "status": status,
        "metrics": {"test/f1": 0.5},
        "error": "why",
        "progress": {"step": 0, "total": None, "eta_s": None},
    }
    assert change.state.has_ended


def test_a_chunk_comes_back_from_json() -> None:
    change = create(now=NOW)
    chunk = Chunk(first_id=3, events=change.events, state=change.state, writer="w")
    found = json.loads(json.dumps(chunk.to_json()))
    assert Chunk.from_json(found, label="x") == chunk
    assert [(event.id, event.type) for event in chunk.numbered()] == [(3, "status")]
    assert chunk.next_id == 4
    later = {**found, "state": {**found["state"], "of_a_later_version": 1}}
    assert Chunk.from_json(later, label="x") == chunk
    for missing in ("state", "events", "writer"):
        with pytest.raises(DamagedArtifact, match="x is damaged: it has missing or unknown fields"):
            Chunk.from_json({key: value for key, value in found.items() if key != missing}, label="x")
