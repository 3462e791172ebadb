from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.files.remote_files import open_files
from service.store.local_cache import LocalCache
from service.store.prompts.contents import PromptContents
from service.store.prompts.store import PromptStore
from tests.service.store.prompts.test_references import CountedFiles
from tests.service.store.prompts.test_store import content_of


@pytest.fixture
def files(tmp_path: Path) -> CountedFiles:
    return CountedFiles(open_files(str(tmp_path / "store")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def contents(files: CountedFiles, folder: Path) -> PromptContents:
    return PromptContents(ArtifactStore("", files=files), cache=LocalCache(folder, max_bytes=1 << 20))


def test_a_content_is_read_once_and_then_found_on_this_host(
    prompts: PromptStore, contents: PromptContents, files: CountedFiles, folder: Path, soft: Any
) -> None:
    made, _ = prompts.create("qa", prompt=soft(1))
    first = contents.load(made.sha256, ref=made.ref)
    assert files.calls == ["read", "read"]  # the manifest, and the file that it names
    files.calls.clear()
    other = PromptContents(ArtifactStore("", files=files), cache=LocalCache(folder, max_bytes=1 << 20))
    for again in (contents.load(made.sha256), other.load(made.sha256, ref=made.ref)):
        assert (again.kind, again.where, list(again.tensors)) == ("soft", None, ["soft"])
        assert np.array_equal(again.tensors["soft"], soft(1).tensors["soft"])
    assert files.calls == []
    assert first.sha256 == made.sha256


@pytest.mark.parametrize("ref", [None, "qa@9", "other@1", "qa@live", "not a reference"])
def test_a_content_is_found_without_a_reference_that_leads_to_it(
    prompts: PromptStore, contents: PromptContents, soft: Any, ref: str | None
) -> None:
    made, _ = prompts.create("qa", prompt=soft(1))
    prompts.create("other", prompt=soft(2))
    assert contents.load(made.sha256, ref=ref).sha256 == made.sha256


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""]
)
def test_a_damaged_copy_is_not_served_and_is_replaced(
    prompts: PromptStore, contents: PromptContents, folder: Path, soft: Any, harm: Any
) -> None:
    made, _ = prompts.create("qa", prompt=soft(1))
    contents.load(made.sha256)
    (copy,) = folder.iterdir()
    intact = copy.read_bytes()
    copy.write_bytes(harm(intact))
    assert np.array_equal(contents.load(made.sha256).tensors["soft"], soft(1).tensors["soft"])
    assert copy.read_bytes() == intact


def test_a_copy_of_another_prompt_is_not_served(
    prompts: PromptStore, contents: PromptContents, folder: Path, soft: Any
) -> None:
    one, two = (prompts.create("qa", prompt=soft(seed))[0] for seed in (1, 2))
    contents.load(one.sha256)
    (copy,) = folder.iterdir()
    copy.rename(folder / two.sha256.removeprefix("sha256:"))
    assert np.array_equal(contents.load(two.sha256).tensors["soft"], soft(2).tensors["soft"])


def test_a_damaged_file_of_the_store_is_neither_served_nor_copied(
    prompts: PromptStore, contents: PromptContents, folder: Path, tmp_path: Path, soft: Any
) -> None:
    made, _ = prompts.create("qa", prompt=soft(1))
    path = content_of(tmp_path, "qa", 1)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(DamagedArtifact, match="prompt qa@1 is damaged"):
        contents.load(made.sha256, ref=made.ref)
    assert not folder.exists()
    twin, _ = prompts.create("twin", prompt=soft(1))
    assert twin.sha256 == made.sha256
    assert contents.load(made.sha256, ref=made.ref).sha256 == made.sha256


def test_a_reference_to_another_content_is_not_served(
    prompts: PromptStore, contents: PromptContents, soft: Any
) -> None:
    one, _ = prompts.create("one", prompt=soft(1))
    two, _ = prompts.create("two", prompt=soft(2))
    prompts.delete("one", version=1)
    with pytest.raises(NotFound, match="no prompt with the content"):
        contents.load(one.sha256, ref=two.ref)


def test_a_deleted_prompt_is_not_found(prompts: PromptStore, contents: PromptContents, soft: Any) -> None:
    made, _ = prompts.create("qa", prompt=soft(1))
    prompts.delete("qa", version=1)
    with pytest.raises(NotFound, match="no prompt with the content"):
        contents.load(made.sha256, ref=made.ref)
