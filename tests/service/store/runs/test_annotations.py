"""Notes and tags: in every state of a run, during other changes, and in the lists."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import NotFound
from service.store.runs.store import RunStore


def kinds(runs: RunStore, run_id: str) -> list[str]:
    return [event.type for event in runs.events(run_id)]


def test_each_field_is_replaced_alone(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    _, fresh = runs.get(run_id)
    assert (fresh.notes, fresh.tags) == ("", ())
    runs.annotate(run_id, notes="the rate was too high", tags=["pilot", "paper", "pilot"])
    runs.annotate(run_id, notes="the rate was too low")
    _, state = runs.get(run_id)
    assert (state.notes, state.tags) == ("the rate was too low", ("pilot", "paper"))
    runs.annotate(run_id, tags=[])
    _, state = runs.get(run_id)
    assert (state.notes, state.tags, state.status) == ("the rate was too low", (), "queued")


def test_nothing_is_written_for_no_change(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    runs.annotate(run_id, notes="a", tags=["b"])
    before = runs.events(run_id)
    runs.annotate(run_id)
    runs.annotate(run_id, notes="a", tags=["b"])
    assert runs.events(run_id) == before


def test_a_worker_keeps_what_was_written_while_it_runs(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    writer = runs.claim(run_id, worker="w")
    writer.emit("metric", {"step": 1, "loss": 0.5})
    runs.annotate(run_id, notes="watch this", tags=["pilot"])
    writer.flush()
    writer.finish("failed", metrics={"loss": 0.5}, error="no memory")
    _, state = runs.get(run_id)
    assert (state.notes, state.tags, state.status, state.error) == ("watch this", ("pilot",), "failed", "no memory")
    resumed = runs.resume(run_id)
    assert (resumed.notes, resumed.tags, resumed.status) == ("watch this", ("pilot",), "queued")


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_done_remains_the_last_event_of_a_run_that_has_ended(runs: RunStore, status: Any) -> None:
    run_id = runs.create("tune", spec={}).id
    runs.claim(run_id, worker="w").finish(status, metrics={"loss": 0.25})
    ended = runs.events(run_id)[-1]
    before = runs.get(run_id)[1]
    runs.annotate(run_id, tags=["pilot"])
    last = runs.events(run_id)[-1]
    assert (ended.type, last.type, last.data) == ("done", "done", ended.data)
    assert kinds(runs, run_id).count("done") == 1
    after = runs.get(run_id)[1]
    assert (after.status, after.metrics, after.ended_at) == (before.status, before.metrics, before.ended_at)
    assert runs.unfinished() == []


def test_a_run_that_is_deleted_has_none(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    runs.claim(run_id, worker="w").finish("succeeded")
    runs.annotate(run_id, tags=["pilot"])
    runs.delete(run_id)
    with pytest.raises(NotFound):
        runs.annotate(run_id, tags=["pilot"])
    assert runs.list_runs(tag="pilot").items == []


def test_lists_are_narrowed_by_a_tag(runs: RunStore) -> None:
    ids = [runs.create("tune" if n % 2 else "map", spec={}).id for n in range(5)]
    for n in (0, 1, 3):
        runs.annotate(ids[n], tags=["pilot", f"n{n}"])
    runs.annotate(ids[4], tags=["pilots"])

    def listed(**filters: Any) -> list[str]:
        return [record.id for record, _ in runs.list_runs(**filters).items]

    assert listed(tag="pilot") == [ids[3], ids[1], ids[0]]
    assert listed(tag="pilot", kind="tune") == [ids[3], ids[1]]
    assert listed(tag="pilot", after=ids[3], limit=1) == [ids[1]]
    assert listed(tag="none") == []
    runs.annotate(ids[3], tags=["n3"])
    assert listed(tag="pilot") == [ids[1], ids[0]]
