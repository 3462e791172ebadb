from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.files.remote_files import open_files
from service.store.runs.store import RunStore
from tests.service.store.faults import Crash, FaultyFiles, Interrupted


def finished(runs: RunStore, *, status: Any = "failed") -> str:
    """A run with everything that a run can leave."""
    run_id = runs.create("map", spec={"a": 1}).id
    writer = runs.claim(run_id, worker="w")
    writer.emit("metric", {"step": 1, "loss": 0.5})
    writer.add_prompt("qa@1")
    writer.save_checkpoint({"state.bin": b"1"})
    writer.put_output("map.json", b"{}")
    writer.put_output("deep/er.bin", b"2")
    writer.finish(status)
    return run_id


def keys(url: str, run_id: str) -> list[str]:
    """Without announcements, which have the id and are removed after two days."""
    found = [entry.key for entry in open_files(url).walk() if run_id in entry.key]
    return [key for key in found if not key.startswith("changes/")]


def test_nothing_is_left_of_a_deleted_run_and_others_stay(runs: RunStore, place: str) -> None:
    run_id, other = finished(runs), finished(runs)
    before = keys(place, other)
    assert before
    runs.delete(run_id)
    assert keys(place, run_id) == []
    assert keys(place, other) == before
    assert [record.id for record, _ in runs.list_runs().items] == [other]
    for call in (runs.get, runs.events, runs.outputs, runs.metrics, runs.resume, runs.request_cancel, runs.delete):
        with pytest.raises(NotFound):
            call(run_id)
    assert runs.unfinished() == []


def test_a_run_that_waits_or_runs_cannot_be_deleted(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    with pytest.raises(Conflict, match="is queued and cannot be deleted: cancel it first"):
        runs.delete(run_id)
    writer = runs.claim(run_id, worker="w")
    with pytest.raises(Conflict, match="is running"):
        runs.delete(run_id)
    writer.finish("succeeded")
    runs.delete(run_id)
    with pytest.raises(NotFound):
        runs.delete(run_id)


@pytest.mark.parametrize("run_id", ["run-00000000000000000", "nope", "../x"])
def test_only_runs_can_be_deleted(runs: RunStore, run_id: str) -> None:
    with pytest.raises(NotFound):
        runs.delete(run_id)


def test_a_deletion_that_is_interrupted_anywhere_hides_the_run_or_not_and_can_be_repeated(tmp_path: Path) -> None:
    for at in range(1, 50):
        url = str(tmp_path / str(at))
        runs = RunStore(ArtifactStore(url))
        run_id = finished(runs)
        faulty: Any = FaultyFiles(open_files(url), at=at, mode="dies before")
        with suppress(Crash):
            RunStore(ArtifactStore("", files=faulty)).delete(run_id)
        with suppress(NotFound):
            assert runs.get(run_id)[1].status == "failed"
            assert at == 1
        with suppress(NotFound):
            runs.delete(run_id)
        assert keys(url, run_id) == []
        if faulty.n_writes < at:
            assert at > 6
            return
    raise AssertionError("a deletion has no end")


def test_of_a_deletion_and_a_resume_at_once_one_succeeds(tmp_path: Path) -> None:
    url = str(tmp_path)
    runs = RunStore(ArtifactStore(url))
    run_id = finished(runs)
    found, _ = runs.get(run_id)
    # Resumed just before the deletion closes the log.
    files: Any = Interrupted(
        open_files(url),
        at=lambda name, key: name == "create" and "/events/" in key,
        meanwhile=lambda: _resume_behind(url, run_id, record=found),
    )
    with pytest.raises(Conflict, match="is queued"):
        RunStore(ArtifactStore("", files=files)).delete(run_id)
    record, state = runs.get(run_id)
    assert (state.status, record.spec) == ("queued", {"a": 1})
    assert runs.claim(run_id, worker="w").load_checkpoint() == {"state.bin": b"1"}


def _resume_behind(url: str, run_id: str, *, record: Any) -> None:
    """Append a resume whose check of the record was before the deletion withdrew it."""
    runs = RunStore(ArtifactStore(url))
    runs._rows.record = lambda run_id: record  # type: ignore[method-assign]
    runs.resume(run_id)


def test_a_resume_that_a_whole_deletion_overtakes_leaves_nothing(tmp_path: Path) -> None:
    url = str(tmp_path)
    runs = RunStore(ArtifactStore(url))
    run_id = finished(runs)
    files: Any = Interrupted(
        open_files(url),
        at=lambda name, key: name == "create" and "/events/" in key,
        meanwhile=lambda: runs.delete(run_id),
    )
    with pytest.raises(NotFound):
        RunStore(ArtifactStore("", files=files)).resume(run_id)
    assert keys(url, run_id) == []


def test_damaged_runs_can_be_deleted(local: RunStore, root: str) -> None:
    without_log, without_record = finished(local), finished(local)
    for entry in list(open_files(root).walk()):
        if f"{without_log}/events/" in entry.key:
            open_files(root).put(entry.key, b"rubbish")
    open_files(root).put(f"runs/{without_record}/manifest.json", b"rubbish")
    for run_id in (without_log, without_record):
        local.delete(run_id)
        assert keys(root, run_id) == []
