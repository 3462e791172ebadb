"""Runs whose writers fail, die, or never hear the answer, at every single write: what is left is readable and true."""

from __future__ import annotations

import errno
import uuid
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from service.errors import NotFound, Unavailable
from service.store.artifacts.store import ArtifactStore
from service.store.files import files as files_module
from service.store.files.remote_files import open_files
from service.store.runs.checkpoints import Checkpoints
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter
from tests.service.store.faults import MODES, Crash, FaultyFiles, FaultyOs, Mode
from tests.service.store.run_stories import STORIES, Story


def much_later() -> datetime:
    return datetime.now(timezone.utc) + timedelta(days=2)


def check_log(artifacts: ArtifactStore, run_id: str) -> Chunk:
    """The chain is whole and tells of one end a life; its last chunk."""
    log = RunLog(artifacts)
    chunks = list(log.read(run_id, log.first_ids(run_id)))
    expected_id = 1
    for before, chunk in zip([None, *chunks], chunks, strict=False):
        assert chunk.first_id == expected_id
        assert chunk.events
        expected_id = chunk.next_id
        is_end = chunk.state.has_ended
        assert [event.type for event in chunk.events].count("done") == is_end
        if is_end:
            assert chunk.events[-1].type == "done"
            assert chunk.events[-1].data["status"] == chunk.state.status
            assert chunk.events[-1].data["metrics"] == chunk.state.metrics
        if before is not None and before.state.has_ended:
            assert chunk.state.status == "queued"
    return chunks[-1]


def check(artifacts: ArtifactStore, story: Story, *, is_patient: bool) -> None:
    """All that must hold whatever happened."""
    runs = RunStore(artifacts)
    seen = {record.id: state for record, state in runs.list_runs().items}
    assert {record.id for record, _ in runs.unfinished()} == {
        run_id for run_id, state in seen.items() if not state.has_ended
    }
    if story.run_id is None:
        return
    run_id = story.run_id
    last = check_log(artifacts, run_id)
    assert runs.get(run_id)[1] == seen[run_id]
    assert (last.state.status, last.state.metrics) == (seen[run_id].status, seen[run_id].metrics)
    if story.end is not None:
        assert seen[run_id].status == story.end
    check_checkpoints(artifacts, story, run_id)
    steps = [event.data["step"] for event in runs.events(run_id) if event.type == "metric"]
    assert steps == list(range(1, len(steps) + 1))
    if is_patient:
        assert len(steps) == story.n_said


def check_checkpoints(artifacts: ArtifactStore, story: Story, run_id: str) -> None:
    found = Checkpoints(artifacts, run_id=run_id).load()
    if found is None:
        assert not story.saved
        return
    # The newest that was said to be kept, or one after it whose writer never heard so.
    assert int(found["state"]) in range(max(map(int, story.saved), default=1), story.n_tried + 1)


def go_on(artifacts: ArtifactStore) -> None:
    """What whoever looks after runs does with those that are left, until they have ended; checks that they end once."""
    runs = RunStore(artifacts)
    for record, state in runs.unfinished():
        if state.status == "running":
            state = runs.note_death(record.id, attempt=state.attempts, reason="no sign of life", max_attempts=9)
        if state.status == "queued":
            writer = runs.claim(record.id, worker="w2")
            writer.save_checkpoint({"state": b"1"})
            writer.finish("succeeded", metrics={"x": 1.0})
    assert runs.unfinished() == []
    assert all(check_log(artifacts, record.id).state.has_ended for record, _ in runs.list_runs().items)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("story_of", STORIES)
def test_a_fault_at_any_write_leaves_what_is_true(story_of: Any, mode: Mode) -> None:
    is_patient = mode in ("fails", "answer lost")
    for at in range(1, 200):
        url = f"memory://{uuid.uuid4().hex}"
        artifacts = ArtifactStore(url, clock=much_later)
        faulty: Any = FaultyFiles(open_files(url), at=at, mode=mode)
        story = Story(RunStore(ArtifactStore("", files=faulty)), is_patient=is_patient)
        has_died = False
        try:
            story_of(story)
        except Crash:
            has_died = True
        assert has_died == (not is_patient and faulty.n_writes >= at)
        check(artifacts, story, is_patient=is_patient)
        artifacts.sweep()
        check(artifacts, story, is_patient=is_patient)
        go_on(artifacts)
        if faulty.n_writes < at:
            assert at > 5
            return


def test_what_is_said_after_a_lost_answer_is_told_once_and_in_order() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    runs = RunStore(ArtifactStore(url))
    run_id = runs.create("tune", spec={}).id
    # The claim takes two writes, the chunk and its hint.
    faulty: Any = FaultyFiles(open_files(url), at=4, mode="answer lost")
    writer = RunStore(ArtifactStore("", files=faulty)).claim(run_id, worker="w")
    for step in (1, 2):
        writer.emit("metric", {"step": step})
    with pytest.raises(Unavailable):
        writer.flush()
    runs.request_cancel(run_id)
    writer.emit("metric", {"step": 3})
    writer.set_progress(3)
    writer.flush()
    writer.flush()
    assert writer.cancel_requested
    told = [(event.type, event.data.get("step")) for event in runs.events(run_id, after=2)]
    assert told == [("metric", 1), ("metric", 2), ("log", None), ("metric", 3), ("status", None)]
    check_log(ArtifactStore(url), run_id)


@pytest.mark.parametrize("at", [2, 3, 5, 6, 7])
def test_what_only_helps_those_who_look_later_may_fail(at: int) -> None:
    """Writes are: claim, hint and announcement, end, hint and announcement, and the removal from the list of the unfinished.

    Without the announcement of its end a run stays in that list, until it is read.
    """
    url = f"memory://{uuid.uuid4().hex}"
    runs = RunStore(ArtifactStore(url))
    run_id = runs.create("tune", spec={}).id
    faulty: Any = FaultyFiles(open_files(url), at=at, mode="fails")
    RunStore(ArtifactStore("", files=faulty)).claim(run_id, worker="w").finish("succeeded")
    assert faulty.n_writes == (6 if at == 6 else 7)
    assert runs.get(run_id)[1].status == "succeeded"
    assert runs.unfinished() == []
    assert ArtifactStore(url).names("runs-unfinished") == []


def test_a_death_within_a_creation_leaves_a_whole_run_or_none(tmp_path: Path) -> None:
    for at in range(1, 7):
        url = str(tmp_path / str(at))
        faulty: Any = FaultyFiles(open_files(url), at=at, mode="dies before")
        with suppress(Crash):
            RunStore(ArtifactStore("", files=faulty)).create("tune", spec={})
        runs = RunStore(ArtifactStore(url), clock=much_later)
        found = runs.list_runs().items
        assert [state.status for _, state in found] == ["queued"] * (at == 6)
        assert runs.unfinished() == found
        if not found:
            assert [entry for entry in open_files(url).walk() if not entry.key.startswith("changes/")] == []


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = RunStore(ArtifactStore(str(tmp_path)))
    run_id = runs.create("tune", spec={}).id
    writer = runs.claim(run_id, worker="w")
    last, refused = b"", True
    writer.save_checkpoint({"state": last, "more": b"x"})
    writer.emit("metric", {"step": 1})
    for fault_at in range(1, 100):
        new = b"%d" % fault_at * 1000
        full = FaultyOs(fault_at=fault_at, error=OSError(errno.ENOSPC, "No space", "/secret"), dies=True)
        with monkeypatch.context() as patched:
            patched.setattr(files_module, "os", full)
            refused = refuses(writer, {"state": new, "more": b"x"})
        kept = writer.load_checkpoint()
        assert kept is not None
        # Told to have failed, it may yet be the new one: whole all the same.
        assert kept["state"] in ((last, new) if refused else (new,))
        last = kept["state"]
        if not refused:
            break
    assert (fault_at > 10, refused) == (True, False)
    assert runs.get(run_id)[1].status == "running"
    writer.finish("failed", error="The disk is full.")
    assert [event.type for event in runs.events(run_id)].count("metric") == 1
    assert runs.get(run_id)[1].error == "The disk is full."


def refuses(writer: RunWriter, files: dict[str, bytes]) -> bool:
    """Whether the store refuses a checkpoint; then it refuses all else, too, and says why."""
    try:
        writer.save_checkpoint(files)
    except Unavailable:
        for write in (writer.flush, lambda: writer.finish("failed", error="The disk is full.")):
            with pytest.raises(Unavailable, match=r"^The store could not be written: No space left on device\.$"):
                write()
        return True
    return False


def test_a_run_that_is_gone_is_not_found_half_way(tmp_path: Path) -> None:
    runs = RunStore(ArtifactStore(str(tmp_path)))
    run_id = runs.create("tune", spec={}).id
    (tmp_path / "runs" / run_id / "manifest.json").unlink()
    with pytest.raises(NotFound):
        runs.claim(run_id, worker="w")
