"""Parts of ended runs expire; what they were is known afterwards, and a run that goes on loses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Conflict, Expired, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import LocalFiles
from service.store.runs.expiry import ExpiredPart, RunExpiry
from service.store.runs.store import RunStore
from tests.service.administration.full_store import work
from tests.service.store.faults import Interrupted

AT = "2026-11-24T12:00:00.000000Z"
OUTPUT = ExpiredPart(part="artifact", path="draws/a.bin", n_bytes=7, expired_at=AT)
CHECKPOINTS = ExpiredPart(part="checkpoints", n_bytes=11, expired_at=AT)
EVENTS = ExpiredPart(part="events", n_bytes=13, expired_at=AT)


def ended(runs: RunStore, status: Any = "failed") -> str:
    run_id = runs.create("tune", spec={}).id
    writer = runs.claim(run_id, worker="w")
    work(writer, outputs=("draws/a.bin", "b.bin"))
    writer.finish(status, error="E" if status == "failed" else None, metrics={"loss": 0.5})
    return run_id


def expiry_of(place: str, clock: Any) -> RunExpiry:
    return RunExpiry(ArtifactStore(place, clock=clock), clock=clock)


def test_an_expired_output_is_gone_and_named(runs: RunStore, place: str, clock: Any) -> None:
    run_id = ended(runs)
    assert expiry_of(place, clock).expire(run_id, [OUTPUT])
    for read in (runs.read_output, runs.open_output):
        with pytest.raises(
            Expired, match=r"'draws/a.bin' of run .* has expired: it was removed at 2026-11-24T12:00:00Z"
        ):
            read(run_id, "draws/a.bin")
    with pytest.raises(NotFound) as never:
        runs.read_output(run_id, "never.bin")
    assert not isinstance(never.value, Expired)
    assert [output.path for output in runs.outputs(run_id)] == ["b.bin"]
    assert runs.read_output(run_id, "b.bin") == b"b.bin" * 10
    assert runs.expired(run_id) == [OUTPUT]


def test_the_state_and_the_end_survive_the_events(runs: RunStore, place: str, clock: Any) -> None:
    run_id = ended(runs)
    before = runs.get(run_id)
    assert len(runs.metrics(run_id)) == 3
    assert expiry_of(place, clock).expire(run_id, [EVENTS])
    assert runs.get(run_id) == before
    events = runs.events(run_id)
    assert [event.type for event in events] == ["log", "done"]
    assert events[-1].data["metrics"] == {"loss": 0.5}
    assert events[-1].data["status"] == "failed"
    with pytest.raises(Expired, match="events of run"):
        runs.metrics(run_id)
    # One who has seen the first end is told of no other one than that.
    assert [event.data.get("status") for event in runs.events(run_id, after=3)][-1] == "failed"


def test_a_run_resumes_after_its_parts_have_expired(runs: RunStore, place: str, clock: Any) -> None:
    run_id = ended(runs)
    assert expiry_of(place, clock).expire(run_id, [EVENTS, CHECKPOINTS, OUTPUT])
    assert runs.resume(run_id).status == "queued"
    writer = runs.claim(run_id, worker="w")
    assert writer.load_checkpoint() is None
    assert writer.read_output("draws/a.bin") is None
    writer.emit("metric", {"step": 5, "loss": 0.25})
    writer.put_output("draws/a.bin", b"again")
    writer.save_checkpoint({"state.bin": b"new"})
    writer.finish("succeeded")
    assert runs.read_output(run_id, "draws/a.bin") == b"again"
    assert [part.part for part in runs.expired(run_id)] == ["events", "checkpoints"]
    assert [point["step"] for point in runs.metrics(run_id)] == [5]


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_queued_or_running_run_loses_nothing(runs: RunStore, place: str, clock: Any, is_claimed: bool) -> None:
    run_id = ended(runs)
    runs.resume(run_id)
    if is_claimed:
        runs.claim(run_id, worker="w")
    assert not expiry_of(place, clock).expire(run_id, [EVENTS, CHECKPOINTS, OUTPUT])
    assert runs.expired(run_id) == []
    assert len(runs.metrics(run_id)) == 3
    assert runs.read_output(run_id, "draws/a.bin") == b"draws/a.bin" * 10


@pytest.mark.parametrize("step", ["put expired.json", "create events"])
def test_a_resume_in_the_middle_wins_or_is_refused(local: RunStore, root: str, clock: Any, step: str) -> None:
    """Just before the mark is written the resume succeeds; once it is there, resumes are refused until all is removed."""
    run_id = ended(local)
    action, word = step.split()
    outcomes: list[str] = []

    def resume() -> None:
        try:
            outcomes.append(local.resume(run_id).status)
        except Conflict as error:
            outcomes.append(error.detail)

    files = Interrupted(LocalFiles(root), at=lambda name, key: name == action and word in key, meanwhile=resume)
    done = RunExpiry(ArtifactStore("", files=files, clock=clock), clock=clock).expire(run_id, [CHECKPOINTS, OUTPUT])
    if action == "put":
        assert (done, outcomes) == (False, ["queued"])
        assert local.claim(run_id, worker="w").load_checkpoint() == {"state.bin": b"state" * 20}
        assert local.read_output(run_id, "draws/a.bin")
        assert local.expired(run_id) == []
    else:
        assert done
        assert "are being removed" in outcomes[0]
        assert local.resume(run_id).status == "queued"


def test_an_interrupted_removal_ends_its_refusal_and_is_repeated(local: RunStore, root: str, clock: Any) -> None:
    run_id = ended(local)

    class Dies:
        def __init__(self) -> None:
            self.files = LocalFiles(root)

        def __getattr__(self, name: str) -> Any:
            if name == "remove_folder":
                raise KeyboardInterrupt
            return getattr(self.files, name)

    with pytest.raises(KeyboardInterrupt):
        RunExpiry(ArtifactStore("", files=Dies(), clock=clock), clock=clock).expire(run_id, [OUTPUT])
    with pytest.raises(Conflict):
        local.resume(run_id)
    with pytest.raises(Expired):
        local.read_output(run_id, "draws/a.bin")
    assert expiry_of(root, clock).expire(run_id, [OUTPUT])
    assert local.expired(run_id) == [OUTPUT]
    clock.advance(hours=2)
    assert local.resume(run_id).status == "queued"


def test_events_that_expire_twice_are_added_up(local: RunStore, root: str, clock: Any) -> None:
    run_id = ended(local)
    expiry = expiry_of(root, clock)
    assert expiry.expire(run_id, [EVENTS])
    assert expiry.expire(run_id, [EVENTS, OUTPUT])
    assert [(part.part, part.n_bytes) for part in local.expired(run_id)] == [("events", 26), ("artifact", 7)]
