from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, DamagedArtifact, Unavailable
from service.store.artifacts.store import Artifact, ArtifactStore

FOLDER = "things/one"
CONTENT = {"a.bin": b"alpha" * 100, "b.bin": b""}


def files_under(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def much_later() -> datetime:
    return datetime.now(timezone.utc) + timedelta(days=2)


def create(store: ArtifactStore, *, content: Any = CONTENT) -> Artifact:
    return store.create(FOLDER, label="thing one", files=content, metadata={"n": 1})


def get(store: ArtifactStore) -> Artifact | None:
    return store.get(FOLDER, label="thing one")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


def test_an_artifact_comes_back(store: ArtifactStore) -> None:
    create(store)
    found = get(store)
    assert found is not None
    assert found.metadata == {"n": 1}
    assert {name: store.read(found, name) for name in found.files} == CONTENT


def test_nothing_is_there_before_it_is_created(store: ArtifactStore) -> None:
    assert get(store) is None
    assert store.names("things") == []
    assert store.get_record("things/r.json", label="r") is None


def test_an_artifact_is_never_replaced(store: ArtifactStore, tmp_path: Path) -> None:
    create(store)
    before = files_under(tmp_path)
    with pytest.raises(Conflict, match="thing one already exists"):
        create(store, content={"a.bin": b"other"})
    found = get(store)
    assert found is not None
    assert store.read(found, "a.bin") == CONTENT["a.bin"]
    assert files_under(tmp_path) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "should have 500 bytes, it has 499"),
        (lambda path: path.write_bytes(b"A" + path.read_bytes()[1:]), "do not match their hash"),
        (lambda path: path.unlink(), "a.bin is missing"),
    ],
)
def test_a_damaged_file_is_named_and_never_served(
    store: ArtifactStore, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    artifact = create(store)
    damage(tmp_path / FOLDER / artifact.files["a.bin"].key)
    with pytest.raises(DamagedArtifact, match="thing one is damaged: .*" + message) as caught:
        store.read(artifact, "a.bin")
    assert str(tmp_path) not in caught.value.detail
    assert store.read(artifact, "b.bin") == b""


def test_every_flipped_bit_of_a_manifest_is_seen(store: ArtifactStore, tmp_path: Path) -> None:
    create(store)
    path = tmp_path / FOLDER / "manifest.json"
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(DamagedArtifact, match=r"thing one, manifest\.json, is damaged"):
            get(store)


def test_the_sweep_removes_what_dead_writers_left_and_nothing_younger(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    store = ArtifactStore(str(tmp_path), clock=lambda: now)
    create(store)
    store.put_record("things/r.json", {"a": 1})
    kept = files_under(tmp_path)
    leftovers = ["things/.tmp-0011223344556677", "things/one/_0011223344556677_a.bin", "lost/_0011223344556677_x"]
    for name in leftovers:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    assert store.sweep() == 0
    young = now.timestamp() - 3590
    for name in files_under(tmp_path):
        os.utime(tmp_path / name, (young, young))
    assert store.sweep() == 0
    old = now.timestamp() - 3610
    for name in files_under(tmp_path):
        os.utime(tmp_path / name, (old, old))
    assert store.sweep() == 3
    assert files_under(tmp_path) == kept


def test_the_sweep_keeps_what_a_broken_manifest_may_name(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path), clock=much_later)
    create(store)
    (tmp_path / FOLDER / "manifest.json").write_bytes(b"{}")
    assert store.sweep() == 0


def test_a_retired_artifact_cannot_come_again(store: ArtifactStore, tmp_path: Path) -> None:
    artifact = create(store)
    store.retire(artifact)
    found = get(store)
    assert found is not None
    assert found.retired
    assert found.metadata == {}
    with pytest.raises(Conflict):
        create(store)
    assert store.read(artifact, "a.bin") == CONTENT["a.bin"]
    store.restore(artifact)
    assert get(store) == artifact
    store.retire(artifact)
    store.discard_files(artifact)
    assert files_under(tmp_path) == {f"{FOLDER}/manifest.json"}


def test_the_sweep_finishes_a_deletion(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path), clock=much_later)
    store.retire(create(store))
    assert store.sweep() == 2
    assert files_under(tmp_path) == {f"{FOLDER}/manifest.json"}


def test_one_writer_creates_a_record(store: ArtifactStore) -> None:
    assert store.create_record("r.json", {"by": "a"})
    assert not store.create_record("r.json", {"by": "b"})
    assert store.get_record("r.json", label="r") == {"by": "a"}
    store.remove_record("r.json")
    store.remove_record("r.json")
    assert store.create_record("r.json", {"by": "b"})


class AnswerLost:
    """Files whose exclusive creation works and is then tried again by the driver, which meets its own first try."""

    def __init__(self, store: ArtifactStore) -> None:
        self._inner = store._files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create(self, key: str, data: bytes) -> None:
        self._inner.create(key, data)
        self._inner.create(key, data)


def test_a_creation_whose_answer_got_lost_still_counts(store: ArtifactStore) -> None:
    files: Any = AnswerLost(store)
    flaky = ArtifactStore("", files=files)
    artifact = create(flaky)
    assert flaky.read(artifact, "a.bin") == CONTENT["a.bin"]
    assert flaky.create_record("r.json", {"by": "me"})
    with pytest.raises(Conflict):
        create(store)


def test_a_store_that_cannot_be_written_is_not_ready(tmp_path: Path) -> None:
    ArtifactStore(str(tmp_path / "new" / "store")).check()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="could not be reached"):
        ArtifactStore(str(tmp_path / "file" / "below")).check()


def test_a_url_nobody_can_open_is_refused() -> None:
    with pytest.raises(Unavailable, match=re.escape("The store's URL cannot be used")):
        ArtifactStore("nosuchscheme://x")
