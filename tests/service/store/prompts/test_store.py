from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promptatlas.types.prompts import PromptManifest as WireManifest
from promptatlas.types.prompts import PromptRow as WireRow

from service.errors import Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.prompts.checks import BaseShape
from service.store.prompts.contents import PromptContents
from service.store.prompts.manifests import Provenance
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore


def content_of(root: Path, name: str, version: int) -> Path:
    return next((root / "store" / "prompts" / name / "versions" / str(version)).glob("_*"))


def manifest_of(root: Path, name: str, version: int) -> Path:
    return root / "store" / "prompts" / name / "versions" / str(version) / "manifest.json"


def test_versions_count_from_one(prompts: PromptStore, soft: Any) -> None:
    made = [prompts.create("qa", prompt=soft(seed)) for seed in range(3)]
    assert [(manifest.version, is_new) for manifest, is_new in made] == [(1, True), (2, True), (3, True)]


def test_the_manifest_says_it_all(prompts: PromptStore, soft: Any) -> None:
    provenance = Provenance(
        run_id="run-1", prior={"kind": "xavier"}, seed=5, parent="qa@1", metrics={"test/exact_match": 0.75}
    )
    prompt = soft(1, notes={"why": "a test"})
    manifest, _ = prompts.create("qa", prompt=prompt, provenance=provenance)
    assert manifest.to_json() == {
        "name": "qa",
        "version": 1,
        "kind": "soft",
        "n_virtual": 4,
        "layers": None,
        "d_model": 7,
        "base": "tiny",
        "base_revision": "rev-1",
        "sha256": prompt.sha256,
        "created_at": "2026-11-24T12:00:00.000250Z",
        "where": None,
        "seed": 5,
        "run_id": "run-1",
        "prior": {"kind": "xavier"},
        "metrics": {"test/exact_match": 0.75},
        "parent": "qa@1",
        "notes": {"why": "a test"},
    }
    assert prompts.get("qa", version=1) == manifest
    wire = WireManifest.model_validate(manifest.to_json())
    assert not wire.model_extra


def test_a_deep_prompt_comes_back(prompts: PromptStore, base: BaseShape) -> None:
    tensors = {"deep.2": np.full((4, 7), 2.5), "deep.0": np.full((4, 7), -1.0)}
    prompt = make_prompt("deep", tensors=tensors, base=base, where="carried")
    manifest, _ = prompts.create("deep", prompt=prompt)
    assert (manifest.layers, manifest.where) == ((0, 2), "carried")
    assert prompts.get("deep", version=1).layers == (0, 2)
    loaded = prompts.load(manifest)
    assert dataclasses.replace(loaded, tensors={}) == dataclasses.replace(prompt, tensors={})
    for name, values in tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], values.astype(np.float32))
    assert prompts.content(manifest) == prompt.to_bytes()
    assert loaded.sha256 == prompt.sha256 == manifest.sha256


def test_the_same_content_is_the_same_version(prompts: PromptStore, soft: Any) -> None:
    first, _ = prompts.create("qa", prompt=soft(1))
    prompts.create("qa", prompt=soft(2))
    again, is_new = prompts.create("qa", prompt=soft(1, notes="other notes"))
    assert (again, is_new) == (first, False)
    elsewhere, is_new = prompts.create("other", prompt=soft(1))
    assert (elsewhere.ref, is_new) == ("other@1", True)


def test_the_same_content_for_another_base_is_another_version(prompts: PromptStore, soft: Any, base: BaseShape) -> None:
    twin = dataclasses.replace(base, name="twin")
    newer = dataclasses.replace(base, revision="rev-2")
    made = [prompts.create("qa", prompt=soft(1, base=shape))[0] for shape in (base, twin, newer, twin)]
    assert [manifest.version for manifest in made] == [1, 2, 3, 2]
    assert prompts.resolve(made[0].sha256, base="twin").base == "twin"
    assert prompts.resolve(made[0].sha256, base="tiny").base == "tiny"


def test_references_find_their_version(prompts: PromptStore, soft: Any) -> None:
    made = [prompts.create("qa", prompt=soft(seed))[0] for seed in range(11)]
    prompts.set_alias("qa", alias="live", version=2)
    assert prompts.resolve("qa") == made[10]
    assert prompts.resolve("qa@3") == made[2]
    assert prompts.resolve("qa@live") == made[1]
    assert prompts.resolve(made[4].sha256) == made[4]


def test_what_is_not_there_is_said(prompts: PromptStore, contents: PromptContents, soft: Any) -> None:
    prompts.create("qa", prompt=soft(1))
    prompts.set_alias("qa", alias="live", version=1)
    for ref, message in [
        ("none", "There is no prompt 'none'"),
        ("none@1", "There is no prompt 'none'"),
        ("none@live", "There is no prompt 'none'"),
        ("qa@2", "no version 2; its newest is 1"),
        ("qa@dead", "no alias 'dead'; it has: live"),
        ("sha256:" + "0" * 64, "no prompt with the content"),
    ]:
        with pytest.raises(NotFound, match=message):
            prompts.resolve(ref)
    with pytest.raises(NotFound, match="no prompt with the content"):
        contents.load("sha256:" + "0" * 64)
    with pytest.raises(InvalidRequest):
        prompts.resolve("../qa")


@pytest.mark.parametrize("name", ["", "..", "a/b", "QA", "x" * 65])
def test_names_cannot_leave_their_folder(prompts: PromptStore, soft: Any, name: str) -> None:
    for call in (
        lambda: prompts.create(name, prompt=soft(1)),
        lambda: prompts.get(name, version=1),
        lambda: prompts.list_versions(name),
        lambda: prompts.delete(name, version=1),
        lambda: prompts.set_alias(name, alias="live", version=1),
        lambda: prompts.delete_alias(name, alias="live"),
        lambda: prompts.aliases(name),
    ):
        with pytest.raises(InvalidRequest, match="A name has"):
            call()


def test_a_number_is_never_given_twice(prompts: PromptStore, soft: Any) -> None:
    for seed in range(3):
        prompts.create("qa", prompt=soft(seed))
    prompts.delete("qa", version=3)
    prompts.delete("qa", version=1)
    assert prompts.resolve("qa").version == 2
    again, is_new = prompts.create("qa", prompt=soft(2))
    assert (again.version, is_new) == (4, True)
    assert [manifest.version for manifest in prompts.list_versions("qa").items] == [4, 2]


def test_what_is_deleted_is_gone(prompts: PromptStore, soft: Any, tmp_path: Path) -> None:
    manifest, _ = prompts.create("qa", prompt=soft(1))
    prompts.delete("qa", version=1)
    for call in (
        lambda: prompts.resolve("qa"),
        lambda: prompts.resolve("qa@1"),
        lambda: prompts.resolve(manifest.sha256),
        lambda: prompts.content(manifest),
        lambda: prompts.delete("qa", version=1),
        lambda: prompts.list_versions("qa"),
        lambda: prompts.set_alias("qa", alias="live", version=1),
    ):
        with pytest.raises(NotFound):
            call()
    assert prompts.list_names().items == []
    left = [path for path in (tmp_path / "store" / "prompts").rglob("*") if path.is_file()]
    assert not list((tmp_path / "store" / "prompt-hashes").rglob("*.json"))
    assert left == [manifest_of(tmp_path, "qa", 1)]


def test_deleting_one_holder_of_a_content_leaves_the_other(
    prompts: PromptStore, contents: PromptContents, soft: Any
) -> None:
    one, _ = prompts.create("one", prompt=soft(1))
    two, _ = prompts.create("two", prompt=soft(1))
    prompts.delete("one", version=1)
    assert prompts.resolve(one.sha256) == two
    assert contents.load(one.sha256).sha256 == one.sha256


def test_a_served_version_is_not_deleted(prompts: PromptStore, soft: Any) -> None:
    prompts.create("qa", prompt=soft(1))
    prompts.create("qa", prompt=soft(2))
    prompts.set_alias("qa", alias="live", version=1)
    prompts.set_alias("qa", alias="best", version=1)
    with pytest.raises(Conflict, match="qa@1 is served as qa@best, qa@live"):
        prompts.delete("qa", version=1)
    assert prompts.load(prompts.resolve("qa@live")).sha256 == soft(1).sha256
    prompts.set_alias("qa", alias="live", version=2)
    prompts.delete_alias("qa", alias="best")
    prompts.delete("qa", version=1)
    assert prompts.resolve("qa@live").version == 2


def test_aliases_move_and_go(prompts: PromptStore, soft: Any) -> None:
    prompts.create("qa", prompt=soft(1))
    prompts.create("qa", prompt=soft(2))
    assert prompts.set_alias("qa", alias="live", version=1).version == 1
    prompts.set_alias("qa", alias="live", version=2)
    prompts.set_alias("qa", alias="a", version=1)
    assert prompts.aliases("qa") == {"a": 1, "live": 2}
    prompts.delete_alias("qa", alias="live")
    assert prompts.aliases("qa") == {"a": 1}
    with pytest.raises(NotFound, match="no alias 'live'"):
        prompts.delete_alias("qa", alias="live")
    with pytest.raises(NotFound, match="no version 3"):
        prompts.set_alias("qa", alias="live", version=3)
    with pytest.raises(InvalidRequest, match="all digits"):
        prompts.set_alias("qa", alias="3", version=1)
    assert prompts.aliases("nobody") == {}


def test_lists_come_in_pages(prompts: PromptStore, soft: Any) -> None:
    for name in ("c", "a", "d", "b", "e"):
        prompts.create(name, prompt=soft(1))
    prompts.create("b", prompt=soft(2))
    prompts.set_alias("b", alias="live", version=1)
    prompts.delete("c", version=1)
    first = prompts.list_names(limit=2)
    assert ([row.name for row in first.items], first.has_more, first.next) == (["a", "b"], True, "b")
    second = prompts.list_names(limit=2, after=first.next)
    assert ([row.name for row in second.items], second.has_more, second.next) == (["d", "e"], False, None)
    row = first.items[1]
    assert (row.latest, row.versions, row.kind, row.base, row.aliases) == (2, (2, 1), "soft", "tiny", {"live": 1})
    assert not WireRow.model_validate(dataclasses.asdict(row)).model_extra


def test_versions_come_in_pages(prompts: PromptStore, soft: Any) -> None:
    for seed in range(12):
        prompts.create("qa", prompt=soft(seed))
    prompts.delete("qa", version=10)
    first = prompts.list_versions("qa", limit=4)
    assert ([manifest.version for manifest in first.items], first.next) == ([12, 11, 9, 8], "8")
    rest = prompts.list_versions("qa", limit=100, after=first.next)
    assert ([manifest.version for manifest in rest.items], rest.has_more) == ([7, 6, 5, 4, 3, 2, 1], False)
    assert prompts.list_versions("qa", after="1").items == []
    for bad in ("x", "-1", "", "9" * 5000, "٣"):
        with pytest.raises(InvalidRequest, match="cursor of a list of versions"):
            prompts.list_versions("qa", after=bad)
    for limit in (0, -1, 1001):
        with pytest.raises(InvalidRequest, match="limit must be 1 to 1000"):
            prompts.list_versions("qa", limit=limit)
        with pytest.raises(InvalidRequest, match="limit must be 1 to 1000"):
            prompts.list_names(limit=limit)


def test_a_damaged_content_is_never_served(
    prompts: PromptStore, contents: PromptContents, soft: Any, tmp_path: Path
) -> None:
    manifest, _ = prompts.create("qa", prompt=soft(1))
    path = content_of(tmp_path, "qa", 1)
    path.write_bytes(path.read_bytes()[:-3])
    for call in (
        lambda: prompts.content(manifest),
        lambda: prompts.load(manifest),
        lambda: contents.load(manifest.sha256),
    ):
        with pytest.raises(DamagedArtifact, match=r"prompt qa@1 is damaged: prompt\.safetensors should have"):
            call()


def test_uploading_a_damaged_prompt_again_mends_it(
    prompts: PromptStore, contents: PromptContents, soft: Any, tmp_path: Path
) -> None:
    manifest, _ = prompts.create("qa", prompt=soft(1))
    content_of(tmp_path, "qa", 1).unlink()
    mended, is_new = prompts.create("qa", prompt=soft(1))
    assert (mended.version, is_new) == (2, True)
    assert contents.load(manifest.sha256).sha256 == manifest.sha256


def test_a_damaged_manifest_is_named_and_hides_nothing_else(prompts: PromptStore, soft: Any, tmp_path: Path) -> None:
    for seed in range(3):
        prompts.create("qa", prompt=soft(seed))
    prompts.create("zz", prompt=soft(9))
    path = manifest_of(tmp_path, "qa", 3)
    path.write_bytes(path.read_bytes().replace(b"soft", b"sofa"))
    for ref in ("qa", "qa@3", soft(2).sha256):
        with pytest.raises(DamagedArtifact, match=r"prompt qa@3, manifest\.json, is damaged"):
            prompts.resolve(ref)
    assert [manifest.version for manifest in prompts.list_versions("qa").items] == [2, 1]
    assert [row.name for row in prompts.list_names().items] == ["qa", "zz"]
    assert prompts.create("qa", prompt=soft(2))[0].version == 4


def test_a_damaged_alias_is_named(prompts: PromptStore, soft: Any, tmp_path: Path) -> None:
    prompts.create("qa", prompt=soft(1))
    prompts.set_alias("qa", alias="live", version=1)
    (tmp_path / "store" / "prompts" / "qa" / "aliases" / "live.json").write_bytes(b"{}")
    with pytest.raises(DamagedArtifact, match="alias qa@live is damaged"):
        prompts.resolve("qa@live")
    prompts.delete_alias("qa", alias="live")
    assert prompts.aliases("qa") == {}


def test_a_second_store_on_the_same_place_sees_it_all(prompts: PromptStore, soft: Any, tmp_path: Path) -> None:
    manifest, _ = prompts.create("qa", prompt=soft(1))
    second = PromptStore(ArtifactStore((tmp_path / "store").as_uri()))
    assert second.resolve("qa") == manifest
    second.delete("qa", version=1)
    with pytest.raises(NotFound):
        prompts.resolve("qa@1")
