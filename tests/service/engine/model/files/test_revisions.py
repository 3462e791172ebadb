"""Revisions are hashes of the weight files, kept until a file changes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.model.files import revisions as module
from service.engine.model.files.revisions import Revisions

LATER_S = 100.0
"""Files of these tests are new; seen this much later, their times are trusted."""


class Hashing:
    """Counts the files that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        real = module._sha256

        def counted(files: list[Path], *, with_names: bool) -> str:
            self.n += len(files)
            return real(files, with_names=with_names)

        monkeypatch.setattr(module, "_sha256", counted)


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Hashing:
    return Hashing(monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"first")
    (folder / "b.bin").write_bytes(b"second")
    (folder / "config.json").write_text("{}")
    return folder


def later() -> float:
    return time.time() + LATER_S


def expected(folder: Path) -> str:
    names = ("a.safetensors", "b.bin")
    return hashlib.sha256(b"".join(name.encode() + b"\0" + (folder / name).read_bytes() for name in names)).hexdigest()


def test_a_folder_is_hashed_once(model: Path, tmp_path: Path, hashing: Hashing) -> None:
    for _ in range(3):
        assert Revisions(tmp_path / "cache", clock=later).of_folder(model) == expected(model)
    assert hashing.n == 2


def test_a_file_s_revision_is_what_sha256sum_prints(model: Path, tmp_path: Path, hashing: Hashing) -> None:
    for _ in range(2):
        found = Revisions(tmp_path / "cache", clock=later).of_file(model / "a.safetensors")
        assert found == hashlib.sha256(b"first").hexdigest()
    assert hashing.n == 1


def rewritten(file: Path) -> None:
    file.write_bytes(b"FIRST")


def rewritten_with_the_old_time(file: Path) -> None:
    before = file.stat()
    file.write_bytes(b"FIRST")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_a_copy_with_the_old_time(file: Path) -> None:
    before = file.stat()
    other = file.with_name("new")
    other.write_bytes(b"FIRST")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def longer(file: Path) -> None:
    file.write_bytes(b"first and more")


@pytest.mark.parametrize(
    "change", [rewritten, rewritten_with_the_old_time, replaced_by_a_copy_with_the_old_time, longer]
)
def test_a_changed_file_is_hashed_again(model: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    revisions = Revisions(tmp_path / "cache", clock=later)
    before = revisions.of_folder(model)
    change(model / "a.safetensors")
    assert revisions.of_folder(model) == expected(model) != before


@pytest.mark.parametrize("change", ["added", "removed"])
def test_another_set_of_files_is_hashed_again(model: Path, tmp_path: Path, change: str) -> None:
    revisions = Revisions(tmp_path / "cache", clock=later)
    before = revisions.of_folder(model)
    if change == "added":
        (model / "c.bin").write_bytes(b"third")
    else:
        (model / "b.bin").unlink()
    assert revisions.of_folder(model) == Revisions(None).of_folder(model) != before


def test_files_that_are_no_weights_change_nothing(model: Path, tmp_path: Path) -> None:
    revisions = Revisions(tmp_path / "cache", clock=later)
    before = revisions.of_folder(model)
    (model / "config.json").write_text('{"changed": true}')
    assert revisions.of_folder(model) == before


def test_a_file_written_just_now_is_not_trusted(model: Path, tmp_path: Path, hashing: Hashing) -> None:
    """A second change within one tick of the file system's clock would keep size and times."""
    now = (model / "b.bin").stat().st_mtime + 0.1
    for _ in range(2):
        Revisions(tmp_path / "cache", clock=lambda: now).of_folder(model)
    assert hashing.n == 4


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._sha256

    def slow(files: list[Path], *, with_names: bool) -> str:
        found = real(files, with_names=with_names)
        rewritten(model / "a.safetensors")
        return found

    monkeypatch.setattr(module, "_sha256", slow)
    Revisions(tmp_path / "cache", clock=later).of_folder(model)
    monkeypatch.setattr(module, "_sha256", real)
    assert Revisions(tmp_path / "cache", clock=later).of_folder(model) == expected(model)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 3}', '{"revision": "?"}', "wrong revision"])
def test_a_damaged_entry_is_computed_again(model: Path, tmp_path: Path, content: str) -> None:
    revisions = Revisions(tmp_path / "cache", clock=later)
    revisions.of_folder(model)
    (entry,) = (tmp_path / "cache").iterdir()
    if content == "wrong revision":
        content = json.dumps({**json.loads(entry.read_text()), "revision": "x"})
    entry.write_text(content)
    assert revisions.of_folder(model) == expected(model)


def test_a_cache_that_cannot_be_written_is_no_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert Revisions(tmp_path / "cache", clock=later).of_folder(model) == expected(model)


def test_without_a_cache_nothing_is_remembered(model: Path, hashing: Hashing) -> None:
    for _ in range(2):
        assert Revisions(None).of_folder(model) == expected(model)
    assert hashing.n == 4


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        Revisions(tmp_path / "cache").of_file(tmp_path / "missing")
