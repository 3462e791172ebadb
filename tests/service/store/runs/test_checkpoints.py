from __future__ import annotations

from pathlib import Path

from service.store.artifacts.store import ArtifactStore
from service.store.runs.checkpoints import Checkpoints


def test_parts_have_checkpoints_apart_from_those_of_the_run(tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    run, first, second = (Checkpoints(artifacts, run_id="run-1", part=part) for part in (None, 0, 1))
    run.save({"a": b"run"}, attempt=1)
    first.save({"a": b"old"}, attempt=1)
    first.save({"a": b"first"}, attempt=1)
    assert [one.load() for one in (run, first, second)] == [{"a": b"run"}, {"a": b"first"}, None]
    first.remove()
    assert [one.load() for one in (run, first)] == [{"a": b"run"}, None]


def test_some_files_of_a_newer_checkpoint_are_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(ArtifactStore(str(tmp_path)), run_id="run-1", part=3)
    assert checkpoints.load_some(["a"]) is None
    checkpoints.save({"a": b"1", "large": b"0"}, attempt=0)
    checkpoints.save({"a": b"2", "large": b"0"}, attempt=0)
    assert checkpoints.load_some(["a", "b"]) == (2, {"a": b"2"})
    assert checkpoints.load_some(["a"], after=1) == (2, {"a": b"2"})
    assert checkpoints.load_some(["a"], after=2) is None
