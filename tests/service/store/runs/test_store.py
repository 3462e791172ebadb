"""Runs as their store tells them, on a disk, in memory and on S3."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Conflict, InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import RunProgress
from service.store.runs.store import RunStore
from service.store.runs.writer import StaleAttempt
from tests.service.store.run_steps import begin, told

NOBODY = "run-" + "0" * 17


def test_the_life_of_a_run(runs: RunStore, place: str, clock: Any) -> None:
    record = runs.create("tune", spec={"model": "demo", "n": 3}, name="a try", resolved={"qa": "sha256:1"})
    assert runs.get(record.id)[0] == record
    state = runs.get(record.id)[1]
    assert (state.status, state.attempts, state.started_at) == ("queued", 0, None)
    clock.advance(seconds=7)
    writer = runs.claim(record.id, worker="host:1")
    assert (writer.attempt, writer.record) == (1, record)
    writer.emit("metric", {"step": 1, "member": "m0", "loss": 2.5})
    writer.set_progress(1, total=4, eta_s=9.0)
    writer.add_prompt("qa@1")
    writer.add_prompt("qa@1")
    assert runs.get(record.id)[1].progress == RunProgress()
    writer.flush()
    writer.flush()
    other = RunStore(ArtifactStore(place))
    state = other.get(record.id)[1]
    assert (state.status, state.attempts, state.prompts) == ("running", 1, ("qa@1",))
    assert state.progress == RunProgress(step=1, total=4, eta_s=9.0)
    assert state.started_at == "2026-11-24T12:00:07.000250Z"
    assert [record for record, _ in other.unfinished()] == [record]
    clock.advance(seconds=7)
    writer.emit("log", {"level": "info", "text": "bye"})
    writer.finish("succeeded", metrics={"test/f1": 0.75})
    state = other.get(record.id)[1]
    assert (state.status, state.metrics, state.ended_at) == (
        "succeeded",
        {"test/f1": 0.75},
        "2026-11-24T12:00:14.000250Z",
    )
    assert other.unfinished() == []
    assert told(other, record.id) == [
        (1, "status", "queued"),
        (2, "status", "running"),
        (3, "metric", 1),
        (4, "status", "running"),
        (5, "log", "bye"),
        (6, "done", "succeeded"),
    ]


def test_nobody(runs: RunStore) -> None:
    for call in (runs.get, runs.events, runs.metrics, runs.outputs, runs.request_cancel, runs.resume):
        for run_id in (NOBODY, "../../etc", "x"):
            with pytest.raises(NotFound, match="There is no run"):
                call(run_id)
    with pytest.raises(NotFound):
        runs.claim(NOBODY, worker="w")
    assert runs.list_runs().items == []
    assert runs.unfinished() == []


def test_pages_are_newest_first(runs: RunStore) -> None:
    ids = [runs.create("tune" if n % 2 else "map", spec={"n": n}).id for n in range(5)]
    runs.request_cancel(ids[3])
    first = runs.list_runs(limit=2)
    assert ([record.id for record, _ in first.items], first.has_more, first.next) == (ids[:2:-1], True, ids[3])
    second = runs.list_runs(limit=3, after=first.next)
    assert ([record.id for record, _ in second.items], second.has_more, second.next) == (ids[2::-1], False, None)
    assert [record.id for record, _ in runs.list_runs(kind="tune").items] == [ids[3], ids[1]]
    assert [record.id for record, _ in runs.list_runs(kind="tune", status="queued").items] == [ids[1]]
    page = runs.list_runs(status="queued", limit=1, after=ids[4])
    assert ([record.id for record, _ in page.items], page.next) == ([ids[2]], ids[2])


def test_what_no_page_is(local: RunStore) -> None:
    for limit in (0, 1001):
        with pytest.raises(InvalidRequest, match="limit must be 1 to 1000"):
            local.list_runs(limit=limit)
    with pytest.raises(InvalidRequest, match="cursor of a list of runs"):
        local.list_runs(after="qa")


def test_events_go_on_where_a_reader_left_off(local: RunStore) -> None:
    run_id, writer = begin(local)
    for step in range(1, 8):
        writer.emit("metric", {"step": step})
        if step % 3 == 0:
            writer.flush()
    writer.flush()
    everything = local.events(run_id)
    assert [event.id for event in everything] == list(range(1, 10))
    for after in range(10):
        for limit in (1, 2, 100):
            assert local.events(run_id, after=after, limit=limit) == everything[after : after + limit]
    assert local.events(run_id, after=99) == []


def test_a_queued_run_is_cancelled_at_once(local: RunStore) -> None:
    run_id = local.create("tune", spec={}).id
    assert local.request_cancel(run_id).status == "cancelled"
    assert told(local, run_id) == [(1, "status", "queued"), (2, "done", "cancelled")]
    with pytest.raises(Conflict, match="is cancelled and cannot be cancelled"):
        local.request_cancel(run_id)
    with pytest.raises(Conflict, match="is cancelled, not queued"):
        local.claim(run_id, worker="w")
    assert local.unfinished() == []


def test_a_running_run_is_asked_to_stop_and_can_go_on_later(runs: RunStore) -> None:
    run_id, writer = begin(runs)
    writer.save_checkpoint({"state": b"one"})
    assert runs.request_cancel(run_id).status == "running"
    assert runs.request_cancel(run_id).cancel_requested
    assert runs.cancel_requested(run_id)
    assert not writer.cancel_requested
    writer.require_current()
    assert writer.cancel_requested
    writer.set_progress(5, total=9)
    writer.finish("cancelled")
    assert not runs.cancel_requested(run_id)
    assert told(runs, run_id)[-1][1:] == ("done", "cancelled")
    state = runs.resume(run_id)
    assert (state.status, state.has_checkpoint, state.cancel_requested) == ("queued", True, False)
    assert told(runs, run_id)[-2:] == [(5, "status", "cancelled"), (6, "status", "queued")]
    assert [record.id for record, _ in runs.unfinished()] == [run_id]
    again = runs.claim(run_id, worker="w")
    assert (again.attempt, again.load_checkpoint()) == (2, {"state": b"one"})
    again.finish("succeeded")
    assert [event.type for event in runs.events(run_id)].count("done") == 1
    with pytest.raises(Conflict, match="start a new run"):
        runs.resume(run_id)


def test_a_dead_attempt_is_followed_by_another_and_writes_no_more(runs: RunStore) -> None:
    run_id, dead = begin(runs)
    dead.emit("metric", {"step": 1, "loss": 1.0})
    dead.flush()
    assert runs.note_death(run_id, attempt=1, reason="its host went away", max_attempts=2).status == "queued"
    for how_often in (1, 2):
        if how_often == 2:
            living = runs.claim(run_id, worker="w2")
        dead.emit("metric", {"step": 2, "loss": 0.5})
        for write in (
            dead.flush,
            dead.require_current,
            lambda: dead.finish("succeeded"),
            lambda: dead.release("x"),
            lambda: dead.save_checkpoint({"a": b""}),
            lambda: dead.put_output("a", b""),
        ):
            with pytest.raises(StaleAttempt, match="Attempt 1 at run"):
                write()
    assert runs.note_death(run_id, attempt=1, reason="late", max_attempts=2).status == "running"
    state = runs.note_death(run_id, attempt=2, reason="its host went away", max_attempts=2)
    assert (state.status, state.error, state.n_deaths) == ("failed", "its host went away", 2)
    with pytest.raises(StaleAttempt):
        living.finish("succeeded")
    assert told(runs, run_id)[-2:] == [(7, "log", "Attempt 2 died: its host went away"), (8, "done", "failed")]
    assert runs.get(run_id)[1].has_checkpoint is False
    assert runs.outputs(run_id) == []
    assert (runs.resume(run_id).n_deaths, runs.get(run_id)[1].error) == (0, None)


def test_a_worker_that_shuts_down_gives_its_run_back(local: RunStore) -> None:
    run_id, writer = begin(local)
    writer.emit("metric", {"step": 1})
    writer.release("The worker shuts down.")
    writer.release("The worker shuts down.")
    state = local.get(run_id)[1]
    assert (state.status, state.n_deaths, state.attempts) == ("queued", 0, 1)
    assert told(local, run_id)[2:] == [
        (3, "metric", 1),
        (4, "log", "The worker shuts down."),
        (5, "status", "queued"),
    ]
    with pytest.raises(StaleAttempt):
        writer.finish("succeeded")
    second = local.claim(run_id, worker="w2")
    local.request_cancel(run_id)
    second.release("The worker shuts down.")
    assert local.get(run_id)[1].status == "cancelled"
    assert local.unfinished() == []


def test_an_end_may_be_told_again_but_not_changed(local: RunStore) -> None:
    run_id, writer = begin(local)
    writer.finish("failed", error="why")
    writer.finish("failed", error="why")
    with pytest.raises(StaleAttempt, match="the run is failed"):
        writer.finish("succeeded")
    with pytest.raises(InvalidRequest, match="got 'running'"):
        writer.finish("running")  # type: ignore[arg-type]
    assert [event.type for event in local.events(run_id)] == ["status", "status", "done"]


def test_the_curve_has_each_point_once(local: RunStore) -> None:
    run_id, first = begin(local)
    for step in (1, 2, 3):
        for member in ("a", "b"):
            first.emit("metric", {"step": step, "member": member, "loss": float(step)})
    first.emit("metric", {"step": 2, "member": "a", "validation": 7.0})
    first.flush()
    local.note_death(run_id, attempt=1, reason="gone", max_attempts=3)
    second = local.claim(run_id, worker="w")
    for step in (2, 3, 4):
        second.emit("metric", {"step": step, "member": "a", "loss": step + 0.5})
    second.emit("metric", {"step": 0, "rate": float("nan")})
    second.flush()
    assert [(p["step"], p.get("member"), p.get("loss"), p.get("validation")) for p in local.metrics(run_id)] == [
        (0, None, None, None),
        (1, "a", 1.0, None),
        (1, "b", 1.0, None),
        (2, "a", 2.5, 7.0),
        (2, "b", 2.0, None),
        (3, "a", 3.5, None),
        (3, "b", 3.0, None),
        (4, "a", 4.5, None),
    ]
    assert local.metrics(run_id)[0]["rate"] is None


def test_metrics_that_are_no_numbers_do_not_keep_a_run_from_its_end(local: RunStore) -> None:
    run_id, writer = begin(local)
    writer.finish("succeeded", metrics={"test/perplexity": float("inf"), "test/f1": 0.5})
    assert local.get(run_id)[1].metrics == {"test/f1": 0.5}
    assert local.events(run_id)[-2].data == {
        "level": "warning",
        "text": "Metric test/perplexity is inf: dropped.",
    }
