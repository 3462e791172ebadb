"""Harvests read from a server or a folder, shard by shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from promptatlas import AsyncClient, Harvest, errors

from tests.clients.python.promptatlas.fake_harvest import TASKS, TEXTS, FakeHarvest, client_of, columns, states
from tests.clients.python.promptatlas.fake_runs import ID


def test_metadata_without_reading_shards(harvest: Harvest, fake: FakeHarvest) -> None:
    assert (harvest.n_rows, len(harvest), harvest.n_texts, harvest.n_shards) == (7, 7, 3, 2)
    assert harvest.keys() == ["resid_post.3", "norm"]
    assert harvest.shape(("resid_post", 3)) == (7, 3)
    assert harvest.shape("norm") == (7,)
    assert harvest.manifest.dataset == "demo-text"
    assert fake.fetched == ["manifest.json"]
    with pytest.raises(KeyError, match=r"no tensor 'resid_post.4'; there are resid_post.3, norm"):
        harvest.tensor("resid_post.4")


def test_tensors(harvest: Harvest, fake: FakeHarvest) -> None:
    for key in ("resid_post.3", ("resid_post", 3), "blocks.3.hook_resid_post"):
        np.testing.assert_array_equal(harvest.tensor(key), states())
    np.testing.assert_array_equal(harvest["norm"], states()[:, 0])
    assert [len(block) for block in harvest.blocks("norm")] == [4, 3]
    # Each shard is fetched once.
    assert fake.fetched == ["manifest.json", *sorted(path for path in fake.files if path.startswith("shards"))]


def test_columns(harvest: Harvest) -> None:
    for name, values in columns().items():
        column = harvest.column(name)
        assert column is not None
        assert column.tolist() == values
    with pytest.raises(KeyError, match="no column 'size'"):
        harvest.column("size")


def test_texts_are_in_order(harvest: Harvest) -> None:
    assert harvest.texts == TEXTS


def test_rows_are_read_lazily(harvest: Harvest, fake: FakeHarvest) -> None:
    rows = harvest.rows("resid_post", 3)
    first = next(rows)
    assert len(fake.fetched) == 2
    assert (first.text, first.task, first.token, first.position, first.added) == (TEXTS[0], "a", "<s>", 0, True)
    np.testing.assert_array_equal(first.states, states()[0])
    rest = list(rows)
    assert len(rest) == 6
    assert [row.task for row in rest] == [TASKS[i] for i in (0, 0, 1, 2, 2, 2)]
    assert [row.record for row in harvest.rows("norm")] == columns()["record"]


def test_only_the_next_shard_is_fetched(plain: Harvest) -> None:
    assert not plain.has_shard(0)
    next(plain.blocks("norm"))
    assert (plain.has_shard(0), plain.has_shard(1)) == (True, False)


def test_a_cache_keeps_what_was_fetched(fake: FakeHarvest, tmp_path: Path) -> None:
    with client_of(fake) as client:
        with client.harvest.open(ID, cache=tmp_path) as first:
            next(first.blocks("norm"))
        second = client.harvest.open(ID, cache=tmp_path)
        second.tensor("norm")
    assert sorted(fake.fetched) == ["manifest.json", *sorted(fake.files)]
    alone = Harvest.load(tmp_path / ID)
    np.testing.assert_array_equal(alone.tensor("resid_post.3"), states())


def test_temporary_files_are_deleted(plain: Harvest) -> None:
    values = plain.tensor("norm")
    folder = plain.folder
    assert list(folder.rglob("*.safetensors"))
    plain.close()
    assert not folder.exists()
    assert values[1] == 10


def test_a_folder_that_lacks_a_shard(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(FakeHarvest().files["manifest.json"])
    with pytest.raises(FileNotFoundError, match=r"00000\.safetensors: the harvest was opened from this folder alone"):
        Harvest.load(tmp_path).tensor("norm")


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", ""])
def test_shards_stay_inside_their_folder(tmp_path: Path, path: str) -> None:
    fake = FakeHarvest()
    manifest = Harvest.load(_saved(fake, tmp_path)).manifest
    manifest.shards[0].path = path
    with pytest.raises(errors.UnexpectedAnswerError, match="inside the harvest's folder"):
        Harvest(manifest, folder=tmp_path, fetch=None).tensor("norm")


def _saved(fake: FakeHarvest, folder: Path) -> Path:
    (folder / "manifest.json").write_bytes(fake.files["manifest.json"])
    return folder


def test_a_shard_with_another_hash_is_deleted(tmp_path: Path) -> None:
    fake = FakeHarvest()
    name = "shards/00000.safetensors"
    fake.files[name] = fake.files[name][:-1] + bytes([fake.files[name][-1] ^ 1])
    with client_of(fake) as client:
        harvest = client.harvest.open(ID, cache=tmp_path)
        with pytest.raises(
            errors.UnexpectedAnswerError, match=r"expected shard shards/00000\.safetensors with the hash"
        ):
            harvest.tensor("norm")
    assert not (tmp_path / ID / name).exists()


def test_an_invalid_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(errors.UnexpectedAnswerError, match="expected the manifest of a harvest"):
        Harvest.load(tmp_path)


def test_pandas(harvest: Harvest) -> None:
    pytest.importorskip("pandas")
    frame = harvest.to_pandas("resid_post.3")
    assert list(frame.columns)[:3] == ["text_index", "record", "split"]
    assert frame["resid_post.3.2"].tolist() == states()[:, 2].tolist()
    assert frame["task"].tolist()[:3] == ["a"] * 3
    assert frame["task"].isna().tolist() == [False] * 3 + [True] + [False] * 3


def test_a_dataset_of_hugging_face(harvest: Harvest) -> None:
    pytest.importorskip("datasets")
    dataset = harvest.to_dataset()
    assert len(dataset) == 7
    assert set(dataset.column_names) == {*columns(), "resid_post.3", "norm"}
    row = dataset[3]
    assert (row["text"], row["task"], row["split"], row["token"]) == (TEXTS[1], None, "test", " gamma")
    assert row["resid_post.3"] == [30.0, 31.0, 32.0]
    assert harvest.to_dataset("norm").column_names[-1] == "norm"
    with_numpy = dataset.with_format("numpy", columns=["resid_post.3"])
    np.testing.assert_array_equal(with_numpy[:]["resid_post.3"], states())


def test_a_run_of_another_kind_has_no_harvest() -> None:
    class Tuned(FakeHarvest):
        def run(self, **changes: Any) -> dict[str, Any]:
            return {**super().run(), "kind": "tune"}

    with client_of(Tuned()) as client, pytest.raises(ValueError, match="expected a run of kind 'harvest'"):
        client.runs.get(ID).open()


def test_async(tmp_path: Path) -> None:
    fake = FakeHarvest()

    async def main() -> Harvest:
        async with AsyncClient(transport=httpx.MockTransport(fake), progress=False, environ={}) as client:
            await client.harvest.open(ID, cache=tmp_path)
            return await client.harvest.open(ID, cache=tmp_path)

    harvest = anyio.run(main)
    np.testing.assert_array_equal(harvest.tensor("resid_post.3"), states())
    # Everything is there at once, and fetched only once.
    assert sorted(fake.fetched) == ["manifest.json", *sorted(fake.files)]
