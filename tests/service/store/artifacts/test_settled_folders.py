"""Later sweeps read the manifests of changed folders only, and remove the same files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from service.store.artifacts.settled_folders import SettledFolders
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import LocalFiles


class CountingFiles(LocalFiles):
    """Counts the files that are read together."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.n_read = 0

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        listed = list(keys)
        self.n_read += len(listed)
        return dict(super().read_many(listed))


class Scene:
    """A store of some artifacts, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime.now(timezone.utc)
        self.root = folder / "home"
        self.files = CountingFiles(str(self.root))
        self.store = ArtifactStore(str(self.root), files=self.files, clock=lambda: self.now)
        self.settled = SettledFolders(folder / "cache" / "swept")

    def create(self, name: str) -> None:
        self.store.create(f"things/{name}", label=name, files={"a.bin": name.encode()}, metadata={})

    def leave(self, name: str) -> Path:
        """A content without a reference, in the folder of an artifact."""
        path = self.root / "things" / name / "_0011223344556677_left.bin"
        path.write_bytes(b"left")
        return path

    def sweep(self) -> tuple[int, int]:
        """Number of files removed, and of manifests read."""
        self.files.n_read = 0
        return self.store.sweep(settled=self.settled), self.files.n_read


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    for name in ("one", "two", "three"):
        scene.create(name)
    scene.now += timedelta(hours=2)
    return scene


def test_unchanged_folders_are_read_once(scene: Scene) -> None:
    assert [scene.sweep() for _ in range(3)] == [(0, 3), (0, 0), (0, 0)]


def test_a_folder_with_another_file_is_read_again(scene: Scene) -> None:
    scene.sweep()
    left = scene.leave("two")
    os.utime(left, (1, 1))
    assert [scene.sweep() for _ in range(3)] == [(1, 1), (0, 1), (0, 0)]
    assert not left.exists()


def test_a_folder_is_read_until_all_its_files_are_old_enough(scene: Scene) -> None:
    left = scene.leave("two")
    os.utime(left, (scene.now.timestamp(),) * 2)
    assert [scene.sweep() for _ in range(2)] == [(0, 3), (0, 1)]
    scene.now += timedelta(hours=2)
    assert [scene.sweep() for _ in range(3)] == [(1, 1), (0, 1), (0, 0)]
    assert not left.exists()


def test_a_deletion_is_finished(scene: Scene) -> None:
    scene.sweep()
    found = scene.store.get("things/one", label="one")
    assert found is not None
    scene.store.retire(found)
    scene.now += timedelta(hours=2)
    assert scene.sweep() == (1, 1)


def test_a_damaged_manifest_is_read_each_time(scene: Scene) -> None:
    (scene.root / "things" / "one" / "manifest.json").write_bytes(b"{}")
    assert [scene.sweep() for _ in range(2)] == [(0, 3), (0, 1)]


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?")],
    ids=["missing", "empty", "changed"],
)
def test_without_an_intact_file_all_are_read(scene: Scene, damage: Callable[[Path], object]) -> None:
    scene.sweep()
    (path,) = (scene.root.parent / "cache").iterdir()
    damage(path)
    assert scene.sweep() == (0, 3)
    assert scene.sweep() == (0, 0)


def test_an_unwritable_folder_is_ignored(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    scene.settled = SettledFolders(tmp_path / "file" / "swept")
    assert [scene.sweep() for _ in range(2)] == [(0, 3), (0, 3)]
