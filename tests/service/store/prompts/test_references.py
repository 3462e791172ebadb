"""References cost one access to the store once they were resolved, and still see what other processes write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import Files
from service.store.files.remote_files import open_files
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore


class CountedFiles:
    """Files that count the accesses."""

    def __init__(self, files: Files) -> None:
        self.calls: list[str] = []
        self._files = files

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)

        def call(*args: Any) -> Any:
            self.calls.append(name)
            return real(*args)

        return call


@pytest.fixture
def files(tmp_path: Path) -> CountedFiles:
    return CountedFiles(open_files(str(tmp_path / "store")))


@pytest.fixture
def reader(files: CountedFiles) -> PromptStore:
    """The store of another process than ``prompts``."""
    return PromptStore(ArtifactStore("", files=files))


def n_accesses(files: CountedFiles, store: PromptStore, ref: str) -> int:
    files.calls.clear()
    store.resolve(ref)
    return len(files.calls)


def test_a_reference_costs_one_access_once_it_was_resolved(
    prompts: PromptStore, reader: PromptStore, files: CountedFiles, soft: Any
) -> None:
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(3)]
    prompts.set_alias("qa", alias="live", version=2)
    assert n_accesses(files, reader, "qa@3") == 1
    for ref, expected in [("qa", made[2]), ("qa@live", made[1]), (made[0].sha256, made[0]), ("qa@1", made[0])]:
        assert reader.resolve(ref) == expected
        assert n_accesses(files, reader, ref) == 1, ref
        assert reader.resolve(ref) == expected


def test_a_name_with_few_versions_costs_one_access_at_first_too(
    prompts: PromptStore, tmp_path: Path, soft: Any
) -> None:
    for seed in range(7):
        made, _ = prompts.create("qa", prompt=soft(seed))
        prompts.set_alias("qa", alias="live", version=made.version)
        for ref in ("qa", "qa@live"):
            files = CountedFiles(open_files(str(tmp_path / "store")))
            assert PromptStore(ArtifactStore("", files=files)).resolve(ref) == made
            assert files.calls == ["read_many"]


@pytest.mark.parametrize("n_versions", [8, 9, 20])
def test_a_name_with_more_versions_than_are_read_together(
    prompts: PromptStore, reader: PromptStore, files: CountedFiles, soft: Any, n_versions: int
) -> None:
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(n_versions)]
    prompts.set_alias("qa", alias="live", version=n_versions)
    for ref in ("qa", "qa@live"):
        assert reader.resolve(ref) == made[-1]
        assert n_accesses(files, reader, ref) == 1
    for version in range(2, n_versions + 1):
        if version < n_versions:
            prompts.delete("qa", version=version)
    prompts.set_alias("qa", alias="live", version=1)
    prompts.delete("qa", version=n_versions)
    assert reader.resolve("qa") == made[0]
    assert reader.resolve("qa") == made[0]
    newest, _ = prompts.create("qa", prompt=soft(99))
    assert reader.resolve("qa") == newest


def test_a_newer_version_is_seen_at_once(prompts: PromptStore, reader: PromptStore, soft: Any) -> None:
    for seed in range(5):
        made, _ = prompts.create("qa", prompt=soft(seed))
        assert reader.resolve("qa") == made


def test_several_newer_versions_are_seen_at_once(prompts: PromptStore, reader: PromptStore, soft: Any) -> None:
    prompts.create("qa", prompt=soft(0))
    reader.resolve("qa")
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(1, 4)]
    assert reader.resolve("qa") == made[-1]


def test_a_deleted_newest_version_gives_way_to_the_one_before(
    prompts: PromptStore, reader: PromptStore, files: CountedFiles, soft: Any
) -> None:
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(3)]
    assert reader.resolve("qa") == made[2]
    prompts.delete("qa", version=3)
    assert reader.resolve("qa") == made[1]
    assert n_accesses(files, reader, "qa") == 1
    fourth, _ = prompts.create("qa", prompt=soft(3))
    assert (reader.resolve("qa"), fourth.version) == (fourth, 4)


def test_a_deletion_that_was_undone_is_seen(
    prompts: PromptStore, reader: PromptStore, tmp_path: Path, soft: Any
) -> None:
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(2)]
    artifacts = ArtifactStore(str(tmp_path / "store"))
    newest = artifacts.get("prompts/qa/versions/2", label="prompt qa@2")
    assert newest is not None
    artifacts.retire(newest)
    assert reader.resolve("qa") == made[0]
    artifacts.restore(newest)
    assert reader.resolve("qa") == made[1]


def test_all_versions_of_a_name_deleted(prompts: PromptStore, reader: PromptStore, soft: Any) -> None:
    made, _ = prompts.create("qa", prompt=soft(0))
    for ref in ("qa", "qa@1", made.sha256):
        assert reader.resolve(ref) == made
    prompts.delete("qa", version=1)
    for ref in ("qa", "qa@1", made.sha256):
        with pytest.raises(NotFound):
            reader.resolve(ref)


def test_an_alias_that_moves_between_requests(
    prompts: PromptStore, reader: PromptStore, files: CountedFiles, soft: Any
) -> None:
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(3)]
    for version in (1, 3, 2, 3):
        prompts.set_alias("qa", alias="live", version=version)
        assert reader.resolve("qa@live") == made[version - 1]
        assert n_accesses(files, reader, "qa@live") == 1
    prompts.delete_alias("qa", alias="live")
    with pytest.raises(NotFound, match="no alias 'live'; it has: none"):
        reader.resolve("qa@live")


def test_a_hash_leads_to_the_version_for_the_requested_model(
    prompts: PromptStore, reader: PromptStore, base: BaseShape, soft: Any
) -> None:
    other = BaseShape(**{**vars(base), "name": "other"})
    one, _ = prompts.create("one", prompt=soft(1, base=other))
    assert reader.resolve(one.sha256, base="tiny") == one
    two, _ = prompts.create("two", prompt=soft(1))
    assert reader.resolve(two.sha256, base="tiny") == two
    assert reader.resolve(two.sha256, base="other") == one


def test_damage_is_found_again(prompts: PromptStore, reader: PromptStore, tmp_path: Path, soft: Any) -> None:
    prompts.create("qa", prompt=soft(0))
    prompts.set_alias("qa", alias="live", version=1)
    for ref in ("qa", "qa@live"):
        reader.resolve(ref)
    manifest = tmp_path / "store" / "prompts" / "qa" / "versions" / "1" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-9])
    for ref in ("qa", "qa@live", "qa@1"):
        with pytest.raises(DamagedArtifact, match="prompt qa@1"):
            reader.resolve(ref)


def test_the_same_in_a_bucket(url: str, base: BaseShape) -> None:
    writer = PromptStore(ArtifactStore(url))
    files = CountedFiles(open_files(url))
    reader = PromptStore(ArtifactStore("", files=files))
    vectors = [np.full((2, 7), value, dtype=np.float32) for value in (1, 2)]
    made = [
        writer.create("qa", prompt=make_prompt("soft", tensors={"soft": values}, base=base))[0] for values in vectors
    ]
    writer.set_alias("qa", alias="live", version=1)
    for ref, expected in [("qa", made[1]), ("qa@live", made[0]), (made[0].sha256, made[0])]:
        reader.resolve(ref)
        files.calls.clear()
        assert reader.resolve(ref) == expected
        assert len(files.calls) == 1
