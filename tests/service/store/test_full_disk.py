"""A disk that fills up while a run is executed, and other causes for which a store cannot be used."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreFull, StoreReadOnly, StoreUnavailable
from service.store.artifacts.store import ArtifactStore
from service.store.files import files as files_module
from service.store.files.files import RESERVE_BYTES, LocalFiles
from service.store.files.remote_files import RemoteFiles
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter
from tests.service.store.faults import SmallDisk


@dataclass
class Scene:
    disk: SmallDisk
    artifacts: ArtifactStore
    runs: RunStore

    def running(self) -> tuple[str, RunWriter]:
        run_id = self.runs.create("tune", spec={}).id
        return run_id, self.runs.claim(run_id, worker="test")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    disk = SmallDisk(tmp_path, capacity_bytes=16 * RESERVE_BYTES)
    monkeypatch.setattr(files_module, "os", disk)
    artifacts = ArtifactStore(str(tmp_path))
    return Scene(disk, artifacts, RunStore(artifacts))


def test_a_run_on_a_full_disk_fails_with_the_cause(scene: Scene) -> None:
    scene.runs.hold_reserve()
    run_id, writer = scene.running()
    writer.emit("metric", {"step": 1, "loss": 0.5})
    scene.disk.fill()
    with pytest.raises(StoreFull):
        writer.flush()
    with pytest.raises(StoreFull) as full:
        writer.save_checkpoint({"state.bin": b"x"})
    writer.finish("failed", error=full.value.detail)
    state = scene.runs.get(run_id)[1]
    assert state.status == "failed"
    assert state.error == "The store could not be written: No space left on device."
    assert [point["loss"] for point in scene.runs.metrics(run_id)] == [0.5]
    assert scene.runs.events(run_id)[-1].type == "done"


def test_without_room_for_the_last_events_the_end_is_recorded_all_the_same(scene: Scene) -> None:
    scene.runs.hold_reserve()
    run_id, writer = scene.running()
    for step in range(16):
        writer.emit("metric", {"step": step, "note": "x" * 60_000})
    scene.disk.fill()
    writer.finish("failed", error="The store could not be written: No space left on device.")
    assert scene.runs.get(run_id)[1].status == "failed"
    assert scene.runs.metrics(run_id) == []


@pytest.mark.parametrize("action", ["cancel", "death", "release"])
def test_other_ends_of_an_attempt_are_recorded_on_a_full_disk(scene: Scene, action: str) -> None:
    scene.runs.hold_reserve()
    run_id, writer = scene.running()
    scene.disk.fill()
    if action == "cancel":
        scene.runs.request_cancel(run_id)
        assert scene.runs.cancel_requested(run_id)
    elif action == "death":
        assert scene.runs.note_death(run_id, attempt=1, reason="killed", max_attempts=1).error == "killed"
    else:
        writer.release("stopping")
        assert scene.runs.get(run_id)[1].status == "queued"


def test_the_reserve_is_only_for_ends(scene: Scene) -> None:
    scene.runs.hold_reserve()
    run_id = scene.runs.create("tune", spec={}).id
    scene.disk.fill()
    with pytest.raises(StoreFull):
        scene.runs.claim(run_id, worker="test")
    with pytest.raises(StoreFull):
        scene.runs.create("tune", spec={})
    assert scene.runs.get(run_id)[1].status == "queued"
    # With room again, the queued run can be started.
    scene.disk.capacity_bytes += 1 << 20
    assert scene.runs.claim(run_id, worker="test").attempt == 1


def test_the_reserve_is_held_again_once_there_is_room_to_spare(scene: Scene) -> None:
    free = scene.disk.free_bytes
    scene.runs.hold_reserve()
    assert free - scene.disk.free_bytes == RESERVE_BYTES
    scene.runs.hold_reserve()
    assert free - scene.disk.free_bytes == RESERVE_BYTES
    run_id, writer = scene.running()
    scene.disk.fill()
    writer.finish("succeeded")
    assert scene.runs.get(run_id)[1].status == "succeeded"
    left = scene.disk.free_bytes
    assert 0 < left <= RESERVE_BYTES
    scene.runs.hold_reserve()
    assert scene.disk.free_bytes == left
    scene.disk.capacity_bytes += 16 * RESERVE_BYTES
    before = scene.disk.free_bytes
    scene.runs.hold_reserve()
    assert before - scene.disk.free_bytes == RESERVE_BYTES


def test_a_check_finds_a_full_disk_and_leaves_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    scene.artifacts.check()
    scene.disk.fill()
    with pytest.raises(StoreFull, match="No space left on device"):
        scene.artifacts.check()
    assert list(tmp_path.iterdir()) == []


class BrokenOs:
    """The os module, with an error at each write."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        raise OSError(self._number, "wrong", "/secret")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreReadOnly),
        (errno.EACCES, StoreReadOnly),
        (errno.EIO, StoreUnavailable),
    ],
)
def test_each_cause_has_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreUnavailable]
) -> None:
    monkeypatch.setattr(files_module, "os", BrokenOs(number))
    files = LocalFiles(str(tmp_path))
    writes: list[Callable[[], None]] = [lambda: files.put("a", b"1"), lambda: files.create("b", b"1"), files.check]
    for write in writes:
        with pytest.raises(StoreUnavailable) as caught:
            write()
        assert type(caught.value) is kind
        assert os.strerror(number) in caught.value.detail
        assert "secret" not in caught.value.detail


class DeniedFilesystem:
    """A driver whose credentials may read only."""

    def pipe_file(self, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Access Denied", "s3://secret")


def test_a_bucket_that_may_only_be_read_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    files = RemoteFiles("memory://denied")
    monkeypatch.setattr(files, "_at", lambda key: (DeniedFilesystem(), key))
    with pytest.raises(StoreReadOnly, match="Permission denied"):
        files.put("a", b"1")
