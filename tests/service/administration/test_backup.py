"""Backups are whole whenever they are made or killed, incremental, and answer like the store."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from service.administration.copies.backup import back_up, restore
from service.administration.integrity.fsck import StoreCheck
from service.errors import Conflict
from service.queueing.queue import RunQueue
from service.queueing.reconciler import Reconciler
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import Files, LocalFiles
from service.store.files.remote_files import open_files
from service.store.host_cache import CACHE, host_cache_folder
from service.store.runs.store import RunStore
from tests.service.administration.full_store import FullStore, answers
from tests.service.queueing.conftest import queue, redis_server
from tests.service.store.faults import Crash, FaultyFiles, Interrupted

__all__ = ["queue", "redis_server"]

ORIGIN = "/the/store"


def problems(files: Files, clock: Any) -> list[str]:
    return [finding.problem.what for finding in StoreCheck(files, clock=clock).run()]


@pytest.fixture
def backup(tmp_path: Path) -> LocalFiles:
    return LocalFiles(str(tmp_path / "backup"))


@pytest.fixture
def empty(tmp_path: Path) -> LocalFiles:
    return LocalFiles(str(tmp_path / "empty"))


def test_a_restored_store_is_sound_and_answers_identically(
    full: FullStore, backup: LocalFiles, empty: LocalFiles
) -> None:
    full.fill()
    report = back_up(full.files, backup, origin=ORIGIN)
    assert report.problems == []
    assert problems(backup, full.clock) == []
    assert answers(backup) == answers(full.files)
    restored = restore(backup, empty)
    assert restored.problems == []
    assert restored.n_copied == report.n_copied
    assert problems(empty, full.clock) == []
    assert answers(empty) == answers(full.files)
    # The number of the deleted version is not used again.
    again = FullStore(empty, clock=full.clock, soft=full.soft)
    assert again.prompts.create("qa", prompt=full.soft(9))[0].version == 4


def test_a_backup_may_be_in_a_bucket(local: FullStore, place: str, empty: LocalFiles) -> None:
    local.fill()
    target = open_files(place)
    back_up(local.files, target, origin=ORIGIN)
    assert answers(target) == answers(local.files)
    assert back_up(local.files, target, origin=ORIGIN).n_copied == 0
    restore(target, empty)
    assert answers(empty) == answers(local.files)


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(local: FullStore, backup: LocalFiles) -> None:
    local.fill()
    first = back_up(local.files, backup, origin=ORIGIN)
    second = back_up(local.files, backup, origin=ORIGIN)
    assert (second.n_copied, second.n_unchanged, second.n_removed) == (0, first.n_copied, 0)
    local.prompts.create("new", prompt=local.soft(8))
    third = back_up(local.files, backup, origin=ORIGIN)
    # The content, the manifest, and the index entry.
    assert (third.n_copied, third.n_removed) == (3, 0)
    local.prompts.set_alias("qa", alias="live", version=1)
    local.prompts.delete("qa", version=2)
    local.datasets.delete("pairs")
    local.runs.delete(local.failed)
    local.writer.finish("succeeded")
    assert back_up(local.files, backup, origin=ORIGIN).n_removed > 0
    assert answers(backup) == answers(local.files)
    assert problems(backup, local.clock) == []
    apart = ("idempotency", "leases", "changes")
    expected = {entry.key for entry in local.files.walk() if not entry.key.startswith(apart)}
    assert {entry.key for entry in backup.walk()} - {"backup.json"} == expected


def test_a_backup_that_is_killed_at_any_write_is_whole_and_goes_on(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    at = 0
    while True:
        at += 1
        target = LocalFiles(str(tmp_path / f"backup-{at}"))
        faulty = FaultyFiles(target, at=at, mode="dies after")
        try:
            back_up(local.files, faulty, origin=ORIGIN)
        except Crash:
            assert problems(target, local.clock) == []
            if at % 5 == 0:
                back_up(local.files, target, origin=ORIGIN)
                assert answers(target) == answers(local.files)
            continue
        break
    assert at > 30


def test_a_later_backup_that_is_killed_leaves_whole_objects(local: FullStore, tmp_path: Path) -> None:
    """Also while aliases move and versions, runs and datasets are deleted."""
    local.fill()
    n = 25
    targets = [LocalFiles(str(tmp_path / f"backup-{at}")) for at in range(1, n + 1)]
    for target in targets:
        back_up(local.files, target, origin=ORIGIN)
    local.prompts.create("qa", prompt=local.soft(6))
    local.prompts.set_alias("qa", alias="live", version=4)
    local.prompts.delete("qa", version=2)
    local.datasets.delete("pairs")
    local.runs.delete(local.failed)
    for at, target in enumerate(targets, 1):
        try:
            back_up(local.files, FaultyFiles(target, at=at, mode="dies after"), origin=ORIGIN)
        except Crash:
            assert problems(target, local.clock) == []
            back_up(local.files, target, origin=ORIGIN)
        assert answers(target) == answers(local.files)


def test_what_is_written_meanwhile_is_whole_or_absent(local: FullStore, backup: LocalFiles) -> None:
    local.fill()
    stop = threading.Event()

    def write() -> None:
        seed = 100
        while not stop.is_set():
            seed += 1
            number = local.prompts.create("busy", prompt=local.soft(seed))[0].version
            local.prompts.set_alias("busy", alias="live", version=number)
            if number > 3:
                local.prompts.delete("busy", version=number - 2)
            local.ended("tune", outputs=("spec.json",))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert back_up(local.files, backup, origin=ORIGIN).problems == []
            assert problems(backup, local.clock) == []
    finally:
        stop.set()
        writer.join()
    back_up(local.files, backup, origin=ORIGIN)
    assert answers(backup) == answers(local.files)


def test_a_run_that_ends_meanwhile_has_all_that_its_state_says(local: FullStore, backup: LocalFiles) -> None:
    """It ends after its log was copied: it is running in the backup, and with the next one it has ended."""
    local.fill()

    def end() -> None:
        local.writer.put_output("report.json", b"report")
        local.writer.finish("succeeded")

    target = Interrupted(backup, at=lambda name, key: name == "put_file", meanwhile=end)
    back_up(local.files, target, origin=ORIGIN)
    copied = RunStore(ArtifactStore("", files=backup))
    assert copied.get(local.running)[1].status == "running"
    assert problems(backup, local.clock) == []
    back_up(local.files, backup, origin=ORIGIN)
    assert copied.get(local.running)[1].status == "succeeded"
    assert answers(backup) == answers(local.files)


def test_damage_is_not_copied_and_an_intact_copy_stays(local: FullStore, backup: LocalFiles, empty: LocalFiles) -> None:
    local.fill()
    back_up(local.files, backup, origin=ORIGIN)
    before = answers(backup)
    for entry in list(local.files.walk()):
        is_end = entry.key == f"runs/{local.queued}/events/0000000001.json"
        if entry.key.startswith(("prompts/qa/versions/2/", "datasets/pairs/_")) or is_end:
            local.files.put(entry.key, b"?")
    report = back_up(local.files, backup, origin=ORIGIN)
    # The content of the dataset is not read again, because the backup has it.
    assert len(report.problems) == 2
    assert "prompt qa@2" in " ".join(report.problems)
    assert answers(backup) == before
    assert problems(backup, local.clock) == []
    fresh = back_up(local.files, empty, origin=ORIGIN)
    assert "dataset pairs is damaged" in " ".join(fresh.problems)
    # An alias of a version that is not there is left out, too.
    assert "alias qa@live points to a version" in " ".join(fresh.problems)
    assert problems(empty, local.clock) == []


def test_only_into_an_empty_place_or_its_own_backup(local: FullStore, backup: LocalFiles, empty: LocalFiles) -> None:
    local.fill()
    back_up(local.files, backup, origin=ORIGIN)
    content = {entry.key: backup.read(entry.key) for entry in backup.walk()}
    with pytest.raises(Conflict, match="not empty and not a backup"):
        back_up(backup, local.files, origin=ORIGIN)
    with pytest.raises(Conflict, match=r"is a backup of /the/store, not of /another"):
        back_up(local.files, backup, origin="/another")
    with pytest.raises(Conflict, match="is empty, and its backup is not"):
        back_up(empty, backup, origin=ORIGIN)
    with pytest.raises(Conflict, match="not a backup"):
        restore(empty, local.files)
    with pytest.raises(Conflict, match="not empty"):
        restore(backup, local.files)
    assert {entry.key: backup.read(entry.key) for entry in backup.walk()} == content


def test_a_merge_adds_and_replaces_nothing(local: FullStore, backup: LocalFiles, empty: LocalFiles) -> None:
    local.fill()
    back_up(local.files, backup, origin=ORIGIN)
    other = FullStore(empty, clock=local.clock, soft=local.soft)
    other.prompts.create("qa", prompt=local.soft(77))
    other.prompts.set_alias("qa", alias="live", version=1)
    other.prompts.create("more", prompt=local.soft(78))
    own = other.runs.create("tune", spec={}).id
    report = restore(backup, empty, merge=True)
    assert report.problems == ["prompt qa@1 exists or was deleted here, with other content: not restored."]
    assert other.prompts.load(other.prompts.resolve("qa@1")).sha256 == local.soft(77).sha256
    assert other.prompts.load(other.prompts.resolve("qa@2")).sha256 == local.soft(2).sha256
    assert other.prompts.resolve("qa@live").version == 1
    assert {record.id for record, _ in other.runs.unfinished()} == {own, local.queued, local.running}
    assert problems(empty, local.clock) == []
    # The runs go on here, and another merge leaves their logs alone.
    other.runs.claim(local.queued, worker="w")
    restore(backup, empty, merge=True)
    assert other.runs.get(local.queued)[1].status == "running"


def test_a_restore_that_is_killed_at_any_write_goes_on(local: FullStore, backup: LocalFiles, tmp_path: Path) -> None:
    local.fill()
    back_up(local.files, backup, origin=ORIGIN)
    for at in range(1, 80, 3):
        target = LocalFiles(str(tmp_path / f"store-{at}"))
        try:
            restore(backup, FaultyFiles(target, at=at, mode="dies after"))
        except Crash:
            found = [what for what in problems(target, local.clock) if "index of unfinished runs" not in what]
            assert found == []
            restore(backup, target)
        assert answers(target) == answers(local.files)
        assert problems(target, local.clock) == []


def test_queued_and_running_runs_are_queued_again_by_the_reconciler(
    local: FullStore, backup: LocalFiles, empty: LocalFiles, queue: RunQueue
) -> None:
    """With an empty Redis, which is not part of a backup."""
    local.fill()
    back_up(local.files, backup, origin=ORIGIN)
    restore(backup, empty)
    runs = RunStore(ArtifactStore("", files=empty))
    reconciler = Reconciler(queue, runs, max_attempts=3)
    assert queue.positions() == {}
    for _ in range(3):
        while reconciler.reconcile() is None:  # the end of the last turn takes effect after a millisecond
            pass
        queue.end_turn(after_s=1e9)
    assert set(queue.positions()) == {local.queued, local.running}
    assert runs.get(local.running)[1].status == "queued"
    writer = runs.claim(local.running, worker="w")
    assert writer.load_checkpoint() == {"state.bin": b"state" * 20}


def test_a_store_whose_service_has_only_started_is_empty(local: FullStore, backup: LocalFiles, tmp_path: Path) -> None:
    local.fill()
    back_up(local.files, backup, origin=ORIGIN)
    home = LocalFiles(str(tmp_path / "started"))
    for key in ("reserve", "queue/appendonlydir/a.aof", "leases/sweep.json", f"{CACHE}/revisions.json"):
        home.put(key, b"{}")
    assert restore(backup, home).problems == []
    assert answers(home) == answers(local.files)


@pytest.mark.parametrize("key", [f"{CACHE}/own.bin", "queue/jobs", "notes.txt"])
def test_a_folder_with_other_files_is_no_destination(local: FullStore, backup: LocalFiles, key: str) -> None:
    backup.put(key, b"mine")
    with pytest.raises(Conflict, match="not empty and not a backup"):
        back_up(local.fill().files, backup, origin=ORIGIN)
    assert backup.read(key) == b"mine"


def test_caches_of_the_host_are_no_part_of_the_store(tmp_path: Path, clock: Any, soft: Any) -> None:
    home = tmp_path / "home"
    full = FullStore(LocalFiles(str(home)), clock=clock, soft=soft).fill()
    folder = host_cache_folder(str(home), cache=None) / "models"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("no artifact")
    assert problems(full.files, clock) == []
    back_up(full.files, LocalFiles(str(tmp_path / "copy")), origin=ORIGIN)
    assert not (tmp_path / "copy" / "cache").exists()
    assert (folder / "manifest.json").exists()
