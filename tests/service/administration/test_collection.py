"""Garbage: listed before, removed after, and nothing else."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from service.administration.growth.collection import Collection
from service.administration.inventory import Inventory
from service.store import locked_folders
from service.store.artifacts.store import ArtifactStore
from tests.service.administration.full_store import FullStore, answers

ORPHAN = "run-1k10hsjf47tvw9qk4"
CONTENT = "_0011223344556677_x.bin"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def collection(store: FullStore, *, later: timedelta = timedelta(), grace_h: float = 1) -> Collection:
    """A collection at a time after now, since files have the times of the machine."""

    def clock() -> datetime:
        return datetime.now(timezone.utc) + later

    return Collection(
        ArtifactStore("", files=store.files), files=store.files, grace=timedelta(hours=grace_h), clock=clock
    )


def litter(store: FullStore) -> dict[str, str]:
    """Leave what interrupted writers and deletions leave; reasons by key."""
    files = store.files
    files.put("prompts/qa/versions/9/" + CONTENT, b"half of an upload")
    files.put("datasets/pairs/" + CONTENT, b"replaced")
    files.put("datasets/pairs/.tmp-0123", b"temporary")
    files.put(f"runs/{ORPHAN}/events/0000000001.json", b"an interrupted creation")
    files.put(f"runs/{ORPHAN}/outputs/a/{CONTENT}", b"its output")
    files.put(f"runs-unfinished/{ORPHAN}.1.json", b"its entry")
    files.put(f"prompt-hashes/{'0' * 64}/qa@9.json", b"of no version")
    return {
        "prompts/qa/versions/9/" + CONTENT: "content without a reference",
        "datasets/pairs/" + CONTENT: "content without a reference",
        "datasets/pairs/.tmp-0123": "temporary file",
        f"runs/{ORPHAN}": "run without a record",
        f"runs-unfinished/{ORPHAN}.1.json": "index entry without a run",
        f"prompt-hashes/{'0' * 64}/qa@9.json": "index entry without a prompt",
    }


def test_garbage_and_nothing_else_is_removed(full: FullStore) -> None:
    full.fill()
    before, content = answers(full.files), full.content()
    expected = litter(full)
    collected = collection(full, later=timedelta(hours=2))
    listed = collected.plan(Inventory(full.files))
    found = {item.key: item.reason for item in listed}
    # The answers kept for repeated requests are old as well: the clock of the store stands still.
    replayed = {key for key, reason in found.items() if reason == "expired idempotency record"}
    assert {key: reason for key, reason in found.items() if key not in replayed} == expected
    sizes = {item.key: item.n_bytes for item in listed}
    assert sizes[f"runs/{ORPHAN}"] == len(b"an interrupted creation") + len(b"its output")
    assert list(collected.apply(listed)) == listed
    assert collected.plan(Inventory(full.files)) == []
    assert full.content() == {key: data for key, data in content.items() if key not in replayed}
    assert answers(full.files) == before


def test_what_is_younger_than_the_grace_stays(full: FullStore) -> None:
    full.fill()
    litter(full)
    for collected in (
        collection(full, grace_h=1),
        collection(full, grace_h=0),
        collection(full, later=timedelta(hours=2), grace_h=3),
    ):
        # The folder of the run is old by its id, but its files are not.
        assert not {item.reason for item in collected.plan(Inventory(full.files))} - {
            "expired idempotency record",
            "index entry without a run",
        }


def test_a_deletion_that_was_interrupted_is_completed(local: FullStore) -> None:
    local.fill()
    artifact = local.artifacts.get(f"runs/{local.failed}", label="")
    assert artifact is not None
    local.artifacts.retire(artifact)
    listed = collection(local, later=timedelta(hours=2)).plan(Inventory(local.files))
    assert (f"runs/{local.failed}", True) in [(item.key, item.is_folder) for item in listed]
    list(collection(local, later=timedelta(hours=2)).apply(listed))
    assert list(Inventory(local.files).under(f"runs/{local.failed}")) == []


def test_damaged_objects_are_not_garbage(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    for name in ("prompts/qa/versions/1", "datasets/pairs", f"runs/{local.failed}"):
        (tmp_path / "home" / name / "manifest.json").write_bytes(b"?")
    content = local.content()
    collected = collection(local, later=timedelta(hours=2))
    listed = [item for item in collected.plan(Inventory(local.files)) if item.reason != "expired idempotency record"]
    list(collected.apply(listed))
    assert local.content() == content


def test_an_index_entry_of_a_prompt_that_is_uploaded_meanwhile_stays(local: FullStore) -> None:
    manifest, _ = local.prompts.create("qa", prompt=local.soft(1))
    key = f"prompt-hashes/{manifest.sha256[7:]}/qa@2.json"
    local.files.put(key, b"written before the manifest of version 2")
    collected = collection(local, later=timedelta(hours=2))
    listed = collected.plan(Inventory(local.files))
    assert [item.key for item in listed] == [key]
    local.prompts.create("qa", prompt=local.soft(2))
    assert list(collected.apply(listed)) == []
    assert local.files.read(key)


def test_scratch_folders_of_killed_processes_are_listed_and_removed(local: FullStore, scratch: Path) -> None:
    held = locked_folders.scratch_folder()
    killed = scratch / "promptatlas-scratch-killed"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "upload").write_bytes(b"x" * 100)
    collected = collection(local)
    listed = collected.plan(Inventory(local.files))
    assert [(item.key, item.n_bytes) for item in listed] == [(str(killed), 100)]
    list(collected.apply(listed))
    assert os.listdir(scratch) == [held.path.name]
    held.close()


def test_an_upload_in_progress_is_not_hit(local: FullStore, soft: Any) -> None:
    """A collection between the content and the manifest of an upload."""
    from tests.service.store.faults import Interrupted

    def collect() -> None:
        collected = collection(local)
        list(collected.apply(collected.plan(Inventory(local.files))))

    files = Interrupted(
        local.files, at=lambda name, key: name == "create" and key.endswith("manifest.json"), meanwhile=collect
    )
    FullStore(files, clock=local.clock, soft=soft).prompts.create("qa", prompt=soft(5))
    assert local.prompts.load(local.prompts.resolve("qa")).sha256 == soft(5).sha256
