"""Datasets of samples in a store: stored whole or not at all, read file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import Conflict, DamagedArtifact, InvalidRequest
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.formats.locations import Location
from service.store.datasets.formats.records import Record
from service.store.datasets.store import DatasetStore
from service.store.datasets.traces.store import TraceBuilder, TraceStore
from service.store.datasets.traces.top_tokens import TopTokensTable
from tests.service.store.datasets.traces.test_top_tokens import table

FACTS: dict[str, Any] = {"run_id": "run-1", "model": "m", "logprobs": 2}


def records_of(*tables: TopTokensTable, fail_at: int | None = None) -> Callable[[TraceBuilder], Iterator[Record]]:
    """Records, three for each table of three rows."""

    def records(builder: TraceBuilder) -> Iterator[Record]:
        number = 0
        for each in tables:
            for _ in each.rows:
                if number == fail_at:
                    raise DamagedArtifact("a shard is damaged.")
                number += 1
                yield Record(
                    location=Location.line(number),
                    fields={"input": f"i{number}", "target": f"t{number}", "seed": number},
                    split="test" if number % 2 else "train",
                )
            builder.add_top_tokens(each)

    return records


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


@pytest.fixture
def store(artifacts: ArtifactStore) -> TraceStore:
    return TraceStore(artifacts, max_bytes=1 << 20)


def test_records_and_their_tokens(store: TraceStore, artifacts: ArtifactStore) -> None:
    tables = [table(3, 1, 2), table(4, 0, 1)]
    info, is_new = store.create("made", records=records_of(*tables), facts=FACTS)
    assert is_new
    assert (info.n_records, dict(info.splits)) == (6, {"train": 3, "validation": 0, "test": 3})
    datasets = DatasetStore(artifacts)
    assert datasets.get("made") == info
    assert [example.index for example in datasets.examples("made", split="test")] == [0, 2, 4]
    assert info.traces is not None
    assert info.traces["top_tokens"] == [
        {"file": "top-tokens-00000.safetensors", "first_row": 0, "n_rows": 3, "n_tokens": 6},
        {"file": "top-tokens-00001.safetensors", "first_row": 3, "n_rows": 3, "n_tokens": 5},
    ]
    reader = store.top_tokens("made")
    assert (reader.n_rows, reader.n_tokens, reader.k) == (6, 11, 2)
    wanted = [row for each in tables for row in each.rows]
    for index in (5, 0, 3, 2):
        np.testing.assert_array_equal(reader.row(index).top_ids, wanted[index].top_ids)
        assert reader.vocabulary_of(index) is None
    assert [len(row) for row in reader.rows()] == [3, 1, 2, 4, 0, 1]


def test_files_are_read_when_they_are_needed(store: TraceStore, artifacts: ArtifactStore, monkeypatch: Any) -> None:
    store.create("made", records=records_of(table(3, 1, 2), table(4, 0, 1)), facts=FACTS)
    read: list[str] = []
    original = ArtifactStore.read

    def reading(self: ArtifactStore, artifact: Any, name: str) -> bytes:
        read.append(name)
        return original(self, artifact, name)

    monkeypatch.setattr(ArtifactStore, "read", reading)
    reader = store.top_tokens("made")
    assert read == []
    for index in (4, 5, 3):
        reader.row(index)
    assert read == ["top-tokens-00001.safetensors"]


def test_nothing_is_stored_of_records_that_fail(store: TraceStore, artifacts: ArtifactStore) -> None:
    with pytest.raises(DamagedArtifact):
        store.create("made", records=records_of(table(3, 1, 2), table(1, 1, 1), fail_at=4), facts=FACTS)
    with pytest.raises(InvalidRequest):
        store.create("made", records=lambda builder: iter(()), facts=FACTS)
    assert artifacts.names("datasets") == []


def test_the_same_again_and_something_else(store: TraceStore) -> None:
    first, _ = store.create("made", records=records_of(table(3, 1, 2)), facts=FACTS)
    again = store.create("made", records=records_of(table(3, 1, 2)), facts={**FACTS, "run_id": "run-2"})
    assert again == (first, False)
    store.require_free("other")
    with pytest.raises(Conflict):
        store.require_free("made")
    with pytest.raises(Conflict, match="exists with other records"):
        store.create("made", records=records_of(table(3, 1, 2), table(3, 1, 2)), facts=FACTS)


def test_a_damaged_file_of_tokens(store: TraceStore, artifacts: ArtifactStore, tmp_path: Path) -> None:
    store.create("made", records=records_of(table(3, 1, 2)), facts=FACTS)
    [file] = (tmp_path / "datasets" / "made").glob("_*top-tokens*")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedArtifact, match=r"top-tokens-00000\.safetensors should have"):
        store.top_tokens("made").row(0)
    # The same run, resumed, replaces it.
    store.create("made", records=records_of(table(3, 1, 2)), facts=FACTS)
    assert len(store.top_tokens("made").row(0)) == 3
