"""Faults at every call that changes a local disk: what is left is whole, old or new, and the sweep takes the rest."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from service.errors import Unavailable
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.files import files as files_module
from tests.service.store.faults import Crash, FaultyOs

FOLDER = "things/one"
CONTENT = {"a.bin": b"alpha" * 100, "b.bin": b""}


def files_under(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def much_later() -> datetime:
    return datetime.now(timezone.utc) + timedelta(days=2)


def create(store: ArtifactStore) -> Artifact:
    return store.create(FOLDER, label="thing one", files=CONTENT, metadata={"n": 1})


def get(store: ArtifactStore) -> Artifact | None:
    return store.get(FOLDER, label="thing one")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


def run_until_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any, prepare: Any, **fault: Any) -> Any:
    """Run ``step`` in fresh folders with a fault at call 1, 2, …, until a run meets none; yields (folder, done)."""
    for fault_at in range(1, 1000):
        root = tmp_path / str(fault_at)
        prepare(ArtifactStore(str(root)))
        faulty = FaultyOs(fault_at=fault_at, **fault)
        with monkeypatch.context() as patched:
            patched.setattr(files_module, "os", faulty)
            with suppress(Crash, Unavailable):
                step(ArtifactStore(str(root)))
        yield root, faulty.n_calls < fault_at
        if faulty.n_calls < fault_at:
            assert fault_at > 5
            return


def test_a_crash_at_any_step_of_a_creation_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    crash = {"error": Crash(), "dies": True}
    for root, done in run_until_done(tmp_path, monkeypatch, create, lambda store: None, **crash):
        store = ArtifactStore(str(root), clock=much_later)
        found = get(store)
        seen.append(found is not None)
        if found is not None:
            assert {name: store.read(found, name) for name in found.files} == CONTENT
        assert found is not None or not done
        store.sweep()
        n_kept = 0 if found is None else 3
        assert len(files_under(root)) == n_kept
        if found is None:
            create(store)
            assert get(store) is not None
    assert seen == sorted(seen)
    assert {True, False} == set(seen)


def test_a_crash_at_any_step_of_a_record_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(store: ArtifactStore, value: str = "new") -> None:
        store.put_record("r.json", {"value": value})

    seen = []
    crash = {"error": Crash(), "dies": True}
    for root, done in run_until_done(tmp_path, monkeypatch, put, lambda store: put(store, "old"), **crash):
        store = ArtifactStore(str(root), clock=much_later)
        record = store.get_record("r.json", label="r")
        assert record is not None
        seen.append(record["value"])
        assert record["value"] == "new" or not done
        store.sweep()
        assert files_under(root) == {"r.json"}
    assert set(seen) == {"old", "new"}


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"error": OSError(errno.ENOSPC, "No space left on device", "/secret"), "dies": False}
    for root, done in run_until_done(tmp_path, monkeypatch, create, lambda store: None, **fault):
        store = ArtifactStore(str(root), clock=much_later)
        found = get(store)
        if found is not None:
            assert {name: store.read(found, name) for name in found.files} == CONTENT
        assert found is not None or not done
        assert not any(".tmp-" in name for name in files_under(root))
        store.sweep()
        assert len(files_under(root)) == (0 if found is None else 3)


def test_a_full_disk_is_said_without_telling_where_it_is(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FaultyOs(fault_at=1, error=OSError(errno.ENOSPC, "No space left on device", str(tmp_path)), dies=True)
    monkeypatch.setattr(files_module, "os", fault)
    with pytest.raises(Unavailable, match=r"The store could not be written: No space left on device\.") as caught:
        create(store)
    assert caught.value.retry_after_s is not None
    assert str(tmp_path) not in caught.value.detail


def test_contents_reach_the_disk_before_the_manifest_has_its_name(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            real = getattr(os, name)
            if name not in ("fsync", "replace", "link"):
                return real

            def call(*args: Any) -> Any:
                calls.append(name)
                return real(*args)

            return call

    store.put_record("things/other.json", {})
    monkeypatch.setattr(files_module, "os", Recorder())
    store.create("things", label="thing", files={"a": b"x"}, metadata={})
    assert calls == ["fsync", "replace", "fsync", "fsync", "link", "fsync"]
