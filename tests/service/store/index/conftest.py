"""Stores with an index in SQLite, and the same stores without."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.index.dialects import SQLite
from service.store.index.index import StoreIndex
from service.store.prompts.store import PromptStore
from service.store.reindex import Reindex, ReindexReport
from service.store.runs.store import RunStore


class Stores:
    """Prompts, datasets and runs of one place. index: None: without one."""

    def __init__(self, place: str, *, clock: Any, index: StoreIndex | None = None) -> None:
        self.artifacts = ArtifactStore(place, clock=clock)
        self.runs = RunStore(self.artifacts, clock=clock, index=index)
        self.prompts = PromptStore(self.artifacts, clock=clock, index=index)
        self.datasets = DatasetStore(self.artifacts, load_hub=None, clock=clock, index=index)

    def add_dataset(self, name: str) -> None:
        self.datasets.create(name, format="jsonl", stream=io.BytesIO(b'{"text": "a"}\n'))

    def end(self, run_id: str, status: Any) -> None:
        self.runs.claim(run_id, worker="w").finish(status)


def pages(read: Callable[..., Any], *, limit: int, **filters: Any) -> list[tuple[list[Any], str | None]]:
    """All pages of a list."""
    found, after, has_more = [], None, True
    while has_more:
        page = read(limit=limit, after=after, **filters)
        found.append((list(page.items), page.next))
        has_more, after = page.has_more, page.next
    return found


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "index.sqlite3"


@pytest.fixture
def index(tmp_path: Path, database: Path, clock: Any) -> StoreIndex:
    """The index of ``plain``, not built yet."""
    place = str(tmp_path / "store")
    artifacts = ArtifactStore(place, clock=clock)
    return StoreIndex(artifacts, dialect=SQLite(database), address=place, clock=clock)


@pytest.fixture
def plain(tmp_path: Path, clock: Any) -> Stores:
    """The store without an index, as workers and other hosts use it."""
    return Stores(str(tmp_path / "store"), clock=clock)


@pytest.fixture
def indexed(tmp_path: Path, clock: Any, index: StoreIndex) -> Stores:
    """The same store with the index."""
    return Stores(str(tmp_path / "store"), clock=clock, index=index)


def build(stores: Stores, index: StoreIndex, clock: Any) -> ReindexReport:
    return Reindex(stores.artifacts, index=index, clock=clock).run()
