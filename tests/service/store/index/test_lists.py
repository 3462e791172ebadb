"""Pages with an index are those without, whatever was written by whom."""

from __future__ import annotations

import itertools
import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import AtlasError, Conflict
from service.store.artifacts.store import ArtifactStore
from service.store.index.database import IndexUnavailable
from service.store.index.dialects import SQLite
from service.store.index.index import StoreIndex
from tests.service.store.conftest import SetClock
from tests.service.store.index.conftest import Stores, build, pages

STATUSES = (None, "queued", "running", "succeeded", "failed", "cancelled")


def change(stores: Stores, step: str, *, soft: Any, draw: random.Random, clock: SetClock) -> None:
    """One random change of a store."""
    run_ids = [name for name in stores.artifacts.names("runs") if name.startswith("run-")]
    run_id = draw.choice(run_ids) if run_ids else None
    name = draw.choice("abcde.-_9")
    if step == "run":
        stores.runs.create(draw.choice(["tune", "map"]), spec={})
    elif step == "prompt":
        stores.prompts.create(f"p{name}", prompt=soft(draw.randrange(4)))
    elif step == "dataset":
        stores.add_dataset(f"d{name}")
    elif step == "delete dataset":
        stores.datasets.delete(f"d{name}")
    elif step == "delete prompt":
        stores.prompts.delete(f"p{name}", version=1)
    elif step == "wait":
        clock.advance(seconds=draw.choice([3, 70, 2000]))
    elif run_id is not None and step == "claim":
        stores.runs.claim(run_id, worker="w")
    elif run_id is not None and step == "end":
        stores.end(run_id, draw.choice(["succeeded", "failed"]))
    elif run_id is not None and step == "cancel":
        stores.runs.request_cancel(run_id)
    elif run_id is not None and step == "resume":
        stores.runs.resume(run_id)
    elif run_id is not None and step == "tag":
        stores.runs.annotate(run_id, tags=draw.choice([[], ["x"], ["y"], ["x", "y"]]))
    elif run_id is not None and step == "delete run":
        stores.runs.delete(run_id)


STEPS = (
    *("run", "run", "run", "prompt", "prompt", "dataset", "delete dataset", "delete prompt", "wait"),
    *("claim", "end", "end", "cancel", "resume", "delete run", "tag", "tag", "tag"),
)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.sampled_from(STEPS), min_size=5, max_size=40))
def test_pages_are_the_same_with_and_without_an_index(seed: int, steps: list[str]) -> None:
    draw, clock = random.Random(seed), SetClock()
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/store"
        artifacts = ArtifactStore(place, clock=clock)
        index = StoreIndex(artifacts, dialect=SQLite(Path(folder) / "index.sqlite3"), address=place, clock=clock)
        plain, indexed = Stores(place, clock=clock), Stores(place, clock=clock, index=index)
        soft = _soft
        build(plain, index, clock)
        for step in steps:
            writer = draw.choice([plain, indexed])
            with suppress(AtlasError):
                change(writer, step, soft=soft, draw=draw, clock=clock)
            if draw.random() < 0.3:
                index.catch_up()
        # Otherwise the lists would be read from the files.
        index.catch_up()
        limit = draw.choice([1, 2, 5])
        for status in STATUSES:
            for kind, tag in itertools.product((None, "tune", "map"), (None, "x", "y")):
                filters: Any = {"limit": limit, "kind": kind, "status": status, "tag": tag}
                assert pages(indexed.runs.list_runs, **filters) == pages(plain.runs.list_runs, **filters)
        assert pages(indexed.prompts.list_names, limit=limit) == pages(plain.prompts.list_names, limit=limit)
        assert pages(indexed.datasets.list_datasets, limit=limit) == pages(plain.datasets.list_datasets, limit=limit)
        index.database.close()


def _soft(seed: int) -> Any:
    import numpy as np

    from service.store.prompts.checks import BaseShape
    from service.store.prompts.native_format import make_prompt

    base = BaseShape(name="tiny", revision="r", n_layers=3, d_model=7, n_kv_heads=2, d_head=5, n_positions=31)
    vectors = np.random.default_rng(seed).normal(size=(4, 7)).astype(np.float32)
    return make_prompt("soft", tensors={"soft": vectors}, base=base)


def test_a_page_is_read_without_a_listing_of_all_runs_or_prompts(
    indexed: Stores, index: StoreIndex, clock: Any, soft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        indexed.runs.create("tune", spec={})
        indexed.prompts.create(f"p{seed}", prompt=soft(seed))
        indexed.add_dataset(f"d{seed}")
    build(indexed, index, clock)
    names, listed = ArtifactStore.names, []

    def noted(self: ArtifactStore, folder: str) -> list[str]:
        listed.append(folder)
        return names(self, folder)

    monkeypatch.setattr(ArtifactStore, "names", noted)
    assert len(indexed.runs.list_runs(status="queued").items) == 3
    assert len(indexed.prompts.list_names().items) == 3
    assert len(indexed.datasets.list_datasets().items) == 3
    assert not {"runs", "prompts", "datasets"}.intersection(listed)


def test_tags_are_listed_from_an_index_that_was_built_after_they_were_given(
    plain: Stores, indexed: Stores, index: StoreIndex, clock: Any
) -> None:
    ids = [plain.runs.create("tune", spec={}).id for _ in range(3)]
    plain.runs.annotate(ids[0], tags=["pilot"])
    plain.runs.annotate(ids[2], tags=["pilot", "paper"])
    build(plain, index, clock)
    assert set(index.run_ids(tag="pilot")) == {ids[0], ids[2]}
    plain.runs.annotate(ids[2], tags=["paper"])
    # The index has it until it is compared with the files; lists leave it out.
    assert [record.id for record, _ in indexed.runs.list_runs(tag="pilot").items] == [ids[0]]
    report = build(plain, index, clock)
    assert (report.n_missing, report.n_extra) == (0, 1)
    clock.advance(seconds=3600)
    assert build(plain, index, clock).n_extra == 1  # announced in the minutes that the build before has read again
    assert list(index.run_ids(tag="pilot")) == [ids[0]]
    assert list(index.run_ids(tag="pilot", kind="map")) == []


def test_a_tag_of_a_run_that_was_damaged_when_the_index_was_built_is_found_once_it_changes(
    plain: Stores, indexed: Stores, index: StoreIndex, clock: Any, tmp_path: Path
) -> None:
    run_id = plain.runs.create("tune", spec={}).id
    plain.runs.annotate(run_id, tags=["pilot"])
    manifest = tmp_path / "store" / "runs" / run_id / "manifest.json"
    sound = manifest.read_bytes()
    manifest.write_bytes(sound[:-5])
    clock.advance(seconds=3600)
    build(plain, index, clock)
    manifest.write_bytes(sound)
    assert [record.id for record, _ in indexed.runs.list_runs(tag="pilot").items] == [run_id]
    plain.runs.claim(run_id, worker="w")
    assert [record.id for record, _ in indexed.runs.list_runs(tag="pilot").items] == [run_id]
    assert index.database.tags([run_id])


def test_a_run_whose_end_was_not_announced_is_found_after_the_reconciler_has_seen_it(
    plain: Stores, indexed: Stores, index: StoreIndex, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = plain.runs.create("tune", spec={}).id
    build(plain, index, clock)
    writer = plain.runs.claim(run_id, worker="w")
    with monkeypatch.context() as patch:
        patch.setattr("service.store.index.changes.Changes.note", lambda *_: False)
        writer.finish("succeeded")
    assert not indexed.runs.list_runs(status="succeeded").items
    assert not indexed.runs.list_runs(status="running").items
    assert plain.runs.unfinished() == []
    assert [record.id for record, _ in indexed.runs.list_runs(status="succeeded").items] == [run_id]
    assert plain.runs.unfinished_entries() == []


def test_damaged_runs_are_listed_again_when_their_files_are_restored(
    plain: Stores, indexed: Stores, index: StoreIndex, clock: Any, tmp_path: Path
) -> None:
    run_id = plain.runs.create("tune", spec={}).id
    manifest = tmp_path / "store" / "runs" / run_id / "manifest.json"
    sound = manifest.read_bytes()
    manifest.write_bytes(sound[:-5])
    build(plain, index, clock)
    assert not indexed.runs.list_runs(status="queued").items
    manifest.write_bytes(sound)
    assert [record.id for record, _ in indexed.runs.list_runs(status="queued").items] == [run_id]


def test_an_index_that_is_not_built_says_so_and_lists_come_from_the_files(indexed: Stores, index: StoreIndex) -> None:
    run_id = indexed.runs.create("tune", spec={}).id
    with pytest.raises(IndexUnavailable, match="not built"):
        index.catch_up()
    assert [record.id for record, _ in indexed.runs.list_runs().items] == [run_id]


def test_a_store_in_the_same_place_is_not_listed_from_the_index_of_the_store_before(
    indexed: Stores, index: StoreIndex, clock: Any, tmp_path: Path
) -> None:
    indexed.runs.create("tune", spec={})
    build(indexed, index, clock)
    (tmp_path / "store").rename(tmp_path / "before")
    other = Stores(str(tmp_path / "store"), clock=clock).runs.create("map", spec={}).id
    clock.advance(seconds=6)
    assert [record.id for record, _ in indexed.runs.list_runs().items] == [other]
    with pytest.raises(IndexUnavailable, match="not built"):
        index.catch_up()


def test_conflicting_claims_leave_one_status(plain: Stores, indexed: Stores, index: StoreIndex, clock: Any) -> None:
    build(plain, index, clock)
    run_id = plain.runs.create("tune", spec={}).id
    plain.runs.claim(run_id, worker="a")
    with pytest.raises(Conflict):
        indexed.runs.claim(run_id, worker="b")
    assert [state.status for _, state in indexed.runs.list_runs().items] == ["running"]
    assert not indexed.runs.list_runs(status="queued").items
