from __future__ import annotations

import fcntl
from pathlib import Path

from service.hosting.processes.runtime_directory import open_runtime


def folders(parent: Path) -> set[Path]:
    return {path for path in parent.iterdir() if path.is_dir()}


def test_the_directory_exists_as_long_as_the_service(tmp_path: Path) -> None:
    with open_runtime(tmp_path) as runtime:
        assert folders(tmp_path) == {runtime.folder}
        assert runtime.folder.stat().st_mode & 0o777 == 0o700
    assert folders(tmp_path) == set()


def test_directories_of_dead_services_are_removed_and_others_kept(tmp_path: Path) -> None:
    living, dead, unlocked = (tmp_path / f"promptatlas-service-{name}" for name in ("living", "dead", "unlocked"))
    for folder in (living, dead, unlocked):
        folder.mkdir()
        (folder / "big.safetensors").write_bytes(b"x")
    (dead / "lock").touch()
    others = {tmp_path / "other", tmp_path / "promptatlas-scratch-a"}
    for folder in others:
        folder.mkdir()
    with (living / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_runtime(tmp_path) as runtime:
            assert folders(tmp_path) == {living, *others, runtime.folder}


def test_two_services_run_side_by_side(tmp_path: Path) -> None:
    with open_runtime(tmp_path) as first, open_runtime(tmp_path) as second:
        assert folders(tmp_path) == {first.folder, second.folder}


def test_results_are_removed_with_the_engine_that_wrote_them(tmp_path: Path) -> None:
    with open_runtime(tmp_path) as runtime:
        for generation in (1, 2):
            runtime.results_folder(generation).mkdir()
            (runtime.results_folder(generation) / "1.safetensors").touch()
        runtime.sweep(1)
        assert [path.name for path in runtime.folder.glob("results-*/*")] == ["1.safetensors"]
        runtime.sweep_all()
        assert list(runtime.folder.glob("results-*/*")) == []
        assert runtime.results_folder(2).is_dir()
