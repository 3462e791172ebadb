"""Stored posteriors: their file, their versions, and the contents of their members."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import encode
from service.store.prompts.checks import BaseShape
from service.store.prompts.contents import PromptContents
from service.store.prompts.native_format import PromptFile, make_posterior, make_prompt, parse_native
from service.store.prompts.store import PromptStore

HEADER = {"kind": "posterior", "member_kind": "soft", "base": "tiny"}


def stacked(n: int = 3) -> Any:
    return np.random.default_rng(0).normal(size=(n, 4, 7)).astype(np.float32)


def posterior(base: BaseShape) -> PromptFile:
    return make_posterior("soft", tensors={"soft": stacked()}, base=base)


def test_members_have_the_hashes_of_the_same_prompts(base: BaseShape) -> None:
    found = posterior(base)
    prompts = [make_prompt("soft", tensors={"soft": values}, base=base) for values in stacked()]
    assert found.members == tuple(prompt.sha256 for prompt in prompts)
    assert (found.kind, found.member_kind, found.n_virtual, found.d_model) == ("posterior", "soft", 4, 7)
    assert prompts[0].members is None


def test_an_uploaded_posterior_is_stored_and_downloaded(base: BaseShape, tmp_path: Path) -> None:
    file = parse_native(encode({"soft": stacked()}, metadata=HEADER), bases=[base])
    store = PromptStore(ArtifactStore(str(tmp_path)))
    manifest, is_new = store.create("qa", prompt=file)
    assert is_new
    assert manifest == store.resolve("qa", allows_posterior=True)
    assert manifest.members == file.members
    again = parse_native(store.content(manifest), bases=[base])
    assert again.sha256 == file.sha256 == manifest.sha256
    assert store.create("qa", prompt=again) == (manifest, False)
    assert [row.kind for row in store.list_names().items] == ["posterior"]


def test_a_posterior_is_refused_where_one_prompt_is_expected(base: BaseShape, tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    store = PromptStore(artifacts)
    manifest, _ = store.create("qa", prompt=posterior(base))
    with pytest.raises(InvalidRequest, match="a posterior of 3 prompts"):
        store.resolve("qa")
    with pytest.raises(InvalidRequest, match="a posterior of 3 prompts"):
        store.load(manifest)
    with pytest.raises(InvalidRequest, match="a posterior of 3 prompts"):
        PromptContents(artifacts).load(manifest.sha256)


def test_members_are_loaded_by_index(base: BaseShape, tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    manifest, _ = PromptStore(artifacts).create("qa", prompt=posterior(base))
    contents = PromptContents(artifacts)
    for i, values in enumerate(stacked()):
        found = contents.load(f"{manifest.sha256}#{i}", ref=manifest.ref)
        np.testing.assert_array_equal(found.tensors["soft"], values)
        assert (found.kind, found.sha256) == ("soft", (manifest.members or ())[i])
    with pytest.raises(NotFound, match="from 0 to 2, got 3"):
        contents.load(f"{manifest.sha256}#3")


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({"soft": stacked()}, {**HEADER, "member_kind": None}, "needs 'member_kind'"),
        ({"soft": stacked()[0]}, {**HEADER, "kind": "soft"}, "'member_kind' is for posteriors"),
        ({"soft": stacked()[0]}, HEADER, "must have shape"),
        ({"deep.0": stacked(2), "deep.1": stacked(3)}, {**HEADER, "member_kind": "deep"}, "same 1 to 1024 members"),
        ({"soft": np.float32(1)}, HEADER, "same 1 to 1024 members"),
    ],
)
def test_files_that_are_no_posterior_are_refused(
    base: BaseShape, tensors: dict[str, Any], header: dict[str, Any], message: str
) -> None:
    tensors = {name: np.asarray(values) for name, values in tensors.items()}
    with pytest.raises(InvalidRequest, match=message):
        parse_native(encode(tensors, metadata=header), bases=[base])
