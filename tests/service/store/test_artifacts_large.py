"""Artifacts that do not fit in memory, and artifacts that are replaced, on a disk, in memory and on S3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.errors import DamagedArtifact, Unavailable
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.files.files import BLOCK_BYTES, LocalFiles
from service.store.files.remote_files import open_files
from tests.service.store.faults import MODES, Crash, FaultyFiles, Interrupted, Mode

FOLDER = "things/one"
LINES = [b"line %07d\n" % number for number in range(170_000)]
LARGE = b"".join(LINES)


def much_later() -> datetime:
    return datetime.now(timezone.utc) + timedelta(days=2)


def get(store: ArtifactStore) -> Artifact:
    found = store.get(FOLDER, label="thing one")
    assert found is not None
    return found


def read(store: ArtifactStore) -> dict[str, bytes]:
    artifact = get(store)
    return {name: store.read(artifact, name) for name in artifact.files}


@pytest.fixture
def store(place: str) -> ArtifactStore:
    return ArtifactStore(place)


@pytest.fixture
def local(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "local"))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def test_a_file_goes_in_and_comes_out_a_block_at_a_time(store: ArtifactStore, large: Path) -> None:
    assert len(LARGE) > 2 * BLOCK_BYTES
    files: dict[str, bytes | Path] = {"large": large, "small": b"x", "empty": b""}
    artifact = store.create(FOLDER, label="thing one", files=files, metadata={})
    assert artifact == get(store)
    assert artifact.files["large"].sha256 == hashlib.sha256(LARGE).hexdigest()
    assert artifact.files["large"].n_bytes == len(LARGE)
    assert read(store) == {"large": LARGE, "small": b"x", "empty": b""}
    with store.open(artifact, "large") as file:
        assert file.read(5) == LARGE[:5]
        assert file.readline() == LARGE[5:13]
        assert list(file) == LINES[1:]
    with store.open(artifact, "empty") as file:
        assert file.read() == b""
    with pytest.raises(DamagedArtifact, match="its manifest has no file other"):
        store.open(artifact, "other")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "should have 2210000 bytes, it has 2209999"),
        (lambda data: data + b"x", "should have 2210000 bytes, it has more"),
        (lambda data: b"L" + data[1:], "the bytes of large do not match their hash"),
        (lambda data: b"", "should have 2210000 bytes, it has 0"),
    ],
)
def test_whoever_reads_to_the_end_has_read_what_was_stored(
    local: ArtifactStore, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    artifact = local.create(FOLDER, label="thing one", files={"large": LARGE}, metadata={})
    path = tmp_path / "local" / FOLDER / artifact.files["large"].key
    path.write_bytes(damage(path.read_bytes()))
    got: list[bytes] = []
    with (
        local.open(artifact, "large") as file,
        pytest.raises(DamagedArtifact, match=f"thing one is damaged: .*{message}"),
    ):
        got.extend(file)
    assert LINES[-1] not in got
    path.unlink()
    with pytest.raises(DamagedArtifact, match="large is missing"):
        local.open(artifact, "large")


def test_the_place_may_fail_while_it_is_read(local: ArtifactStore) -> None:
    artifact = local.create(FOLDER, label="thing one", files={"large": LARGE}, metadata={})

    class Cable:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.n_reads = 0

        def read(self, n_bytes: int) -> Any:
            self.n_reads += 1
            if self.n_reads == 2:
                raise OSError(5, "Input/output error", "/secret")
            return self._inner.read(n_bytes)

        def close(self) -> None:
            self._inner.close()

    file: Any = local.open(artifact, "large")
    reader = file.raw._file
    reader._file = Cable(reader._file)
    with file, pytest.raises(Unavailable, match=r"The store could not be read: Input/output error\."):
        file.read()
    assert reader.closed


def test_a_file_that_is_not_there_leaves_nothing(store: ArtifactStore, place: str, tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {"a": b"x", "b": tmp_path / "none"}
    for write in (store.create, store.replace):
        with pytest.raises(FileNotFoundError):
            write(FOLDER, label="thing one", files=files, metadata={})
    with pytest.raises(ValueError, match="JSON"):
        store.create(FOLDER, label="thing one", files={"a": b"x"}, metadata={"x": float("nan")})
    assert list(open_files(place).walk()) == []


def test_a_name_with_a_slash_is_swept_like_any_other(local: ArtifactStore, tmp_path: Path) -> None:
    artifact = local.create(FOLDER, label="thing one", files={"a/b c": b"x"}, metadata={})
    assert read(local) == {"a/b c": b"x"}
    local.retire(artifact)
    assert ArtifactStore(str(tmp_path / "local"), clock=much_later).sweep() == 1


def test_the_new_replaces_the_old(store: ArtifactStore, place: str, large: Path) -> None:
    store.replace(FOLDER, label="thing one", files={"a": b"1", "b": b"2"}, metadata={"n": 1})
    new = store.replace(FOLDER, label="thing one", files={"a": large}, metadata={"n": 2})
    assert (get(store), read(store)) == (new, {"a": LARGE})
    assert len(list(open_files(place).walk())) == 2


def test_a_broken_manifest_is_replaced_and_what_it_named_is_swept(local: ArtifactStore, tmp_path: Path) -> None:
    root = tmp_path / "local"
    local.replace(FOLDER, label="thing one", files={"a": b"1"}, metadata={})
    (root / FOLDER / "manifest.json").write_bytes(b"{}")
    local.replace(FOLDER, label="thing one", files={"a": b"2"}, metadata={})
    assert read(local) == {"a": b"2"}
    assert ArtifactStore(str(root), clock=much_later).sweep() == 1
    assert read(local) == {"a": b"2"}


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_write_of_a_replacement_leaves_the_old_or_the_new(tmp_path: Path, mode: Mode) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new b")
    new: dict[str, bytes | Path] = {"a": b"new a", "b": source}
    states = []
    for at in range(1, 20):
        root = str(tmp_path / str(at))
        store = ArtifactStore(root, clock=much_later)
        store.replace(FOLDER, label="thing one", files={"a": b"old a", "c": b"old c"}, metadata={})
        faulty: Any = FaultyFiles(LocalFiles(root), at=at, mode=mode)
        is_told = False
        try:
            ArtifactStore("", files=faulty).replace(FOLDER, label="thing one", files=new, metadata={})
            is_told = True
        except (Crash, Unavailable):
            pass
        states.append(read(store))
        assert states[-1]["a"] == b"new a" or not is_told
        assert mode != "fails" or is_told == (states[-1]["a"] == b"new a")
        store.sweep()
        assert read(store) == states[-1]
        assert len(list(LocalFiles(root).walk())) == 3
        if faulty.n_writes < at:
            break
    assert [sorted(state.values()) for state in states[:2]] == [[b"old a", b"old c"]] * 2
    assert sorted(states[-1].values()) == [b"new a", b"new b"]
    assert all(sorted(state) in (["a", "b"], ["a", "c"]) for state in states)


def is_call(where: str, ending: str, how: str, key: str) -> bool:
    return how == where and key.endswith(ending)


def test_of_two_that_replace_at_once_one_is_left_whole(tmp_path: Path) -> None:
    root = str(tmp_path / "local")
    store = ArtifactStore(root, clock=much_later)
    store.replace(FOLDER, label="thing one", files={"a": b"0"}, metadata={})
    for where in ("put", "remove"):
        ending = "manifest.json" if where == "put" else "_a"
        late: Any = Interrupted(
            LocalFiles(root),
            at=partial(is_call, where, ending),
            meanwhile=lambda: store.replace(FOLDER, label="thing one", files={"a": b"1"}, metadata={}),
        )
        ArtifactStore("", files=late).replace(FOLDER, label="thing one", files={"a": b"2"}, metadata={})
        assert read(store) == {"a": b"2" if where == "put" else b"1"}
        store.sweep()
        assert read(store) == {"a": b"2" if where == "put" else b"1"}
        assert len(list(LocalFiles(root).walk())) == 2


def test_many_at_once(store: ArtifactStore, place: str) -> None:
    store.create(FOLDER, label="thing one", files={"a": b"1"}, metadata={"n": 1})
    store.create("things/two", label="thing two", files={}, metadata={})
    store.put_record("r/1.json", {"n": 1})
    open_files(place).put("things/two/manifest.json", b"{}")
    open_files(place).put("r/2.json", b"{}")
    found = store.get_many({FOLDER: "thing one", "things/two": "thing two", "things/three": "thing three"})
    assert set(found) == {FOLDER, "things/two"}
    assert found[FOLDER] == get(store)
    assert isinstance(found["things/two"], DamagedArtifact)
    assert "thing two, manifest.json, is damaged" in found["things/two"].detail
    records = store.get_records({"r/1.json": "one", "r/2.json": "two", "r/3.json": "three"})
    assert records.pop("r/1.json") == {"n": 1}
    assert set(records) == {"r/2.json"}
    assert isinstance(records["r/2.json"], DamagedArtifact)
    assert store.get_records({}) == {} == store.get_many({})
