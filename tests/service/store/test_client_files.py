from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.client_files import ClientFile, ClientFiles


@pytest.fixture
def files(tmp_path: Path) -> ClientFiles:
    moments = (datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=n) for n in range(1000))
    return ClientFiles(ArtifactStore(str(tmp_path / "store")), clock=lambda: next(moments))


def put(files: ClientFiles, tmp_path: Path, content: bytes = b"abc", *, purpose: str = "batch") -> ClientFile:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return files.create(path, filename="a.jsonl", purpose=purpose)


def test_a_file_is_stored_and_read(files: ClientFiles, tmp_path: Path) -> None:
    stored = put(files, tmp_path)
    assert files.get(stored.id) == stored
    assert (stored.filename, stored.purpose, stored.n_bytes) == ("a.jsonl", "batch", 3)
    stream, found = files.open(stored.id)
    with stream:
        assert (stream.read(), found) == (b"abc", stored)


def test_files_are_listed_newest_first(files: ClientFiles, tmp_path: Path) -> None:
    ids = [put(files, tmp_path, purpose="ab"[n % 2]).id for n in range(5)][::-1]
    page = files.list_files(limit=2)
    assert ([file.id for file in page.items], page.has_more, page.next) == (ids[:2], True, ids[1])
    rest = files.list_files(limit=9, after=page.next)
    assert ([file.id for file in rest.items], rest.has_more) == (ids[2:], False)
    assert [file.id for file in files.list_files(purpose="b").items] == ids[1::2]


def test_a_deleted_file_is_gone(files: ClientFiles, tmp_path: Path) -> None:
    stored = put(files, tmp_path)
    files.delete(stored.id)
    for read in (files.get, files.open, files.delete):
        with pytest.raises(NotFound):
            read(stored.id)
    assert files.list_files().items == []
    assert list((tmp_path / "store" / "files" / stored.id).glob("_*")) == []


@pytest.mark.parametrize("file_id", ["file-absent", "absent", "../prompts", "file-" + "x" * 200, "file-ü"])
def test_there_is_no_such_file(files: ClientFiles, file_id: str) -> None:
    with pytest.raises(NotFound):
        files.get(file_id)


def test_a_file_with_a_known_id_is_replaced(files: ClientFiles, tmp_path: Path) -> None:
    for content in (b"one", b"two and more"):
        (tmp_path / "out").write_bytes(content)
        files.create_once("file-1-output", tmp_path / "out", filename="o", purpose="batch_output")
        stream, _ = files.open("file-1-output")
        with stream:
            assert stream.read() == content


def test_a_damaged_file_is_not_returned(files: ClientFiles, tmp_path: Path) -> None:
    stored = put(files, tmp_path)
    [data] = (tmp_path / "store" / "files" / stored.id).glob("_*")
    data.write_bytes(b"abd")
    stream, _ = files.open(stored.id)
    with stream, pytest.raises(DamagedArtifact):
        stream.read()
