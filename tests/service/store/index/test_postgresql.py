"""The index in PostgreSQL, which several hosts share. Skipped where the server is not installed."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.errors import AtlasError
from service.store.artifacts.store import ArtifactStore
from service.store.index.database import IndexUnavailable
from service.store.index.dialects import PostgreSQL
from service.store.index.index import StoreIndex
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from tests.service.store.index.conftest import Stores, build, pages
from tests.service.store.index.postgresql_server import programs, running_server
from tests.service.store.index.test_lists import STEPS, change


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("there is no PostgreSQL server, or no user postgres to run it")
    pytest.importorskip("psycopg")
    # A short path, because those of Unix sockets are limited; and one that the server's user may enter.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp" if os.path.isdir("/tmp") else None))
    folder.chmod(0o755)
    try:
        with running_server(folder, bin_folder=bin_folder) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shared(tmp_path: Path, clock: Any, url: str) -> StoreIndex:
    """The index of the store ``plain``, on one host."""
    return index_of(tmp_path, url=url, clock=clock)


def index_of(folder: Path, *, url: str, clock: Any) -> StoreIndex:
    place = str(folder / "store")
    return StoreIndex(ArtifactStore(place, clock=clock), dialect=PostgreSQL(url), address=place, clock=clock)


def test_pages_are_those_of_the_files_on_two_hosts(
    tmp_path: Path, plain: Stores, shared: StoreIndex, clock: Any, url: str, soft: Any
) -> None:
    draw = random.Random(7)
    other = index_of(tmp_path, url=url, clock=clock)
    build(plain, shared, clock)
    for _ in range(60):
        with suppress(AtlasError):
            change(plain, draw.choice(STEPS), soft=soft, draw=draw, clock=clock)
    for index in (shared, other):
        runs = RunStore(plain.artifacts, clock=clock, index=index)
        for status in (None, "queued", "succeeded", "cancelled"):
            expected = pages(plain.runs.list_runs, limit=3, kind=None, status=status)
            assert pages(runs.list_runs, limit=3, kind=None, status=status) == expected
        prompts = PromptStore(plain.artifacts, clock=clock, index=index)
        assert pages(prompts.list_names, limit=3) == pages(plain.prompts.list_names, limit=3)
    assert shared.is_built()


def test_names_are_in_the_order_of_code_points(plain: Stores, shared: StoreIndex, clock: Any, soft: Any) -> None:
    names = ["b", "a_1", "a-1", "a.1", "a1", "aa"]
    for name in names:
        plain.prompts.create(name, prompt=soft(0))
    build(plain, shared, clock)
    assert list(shared.names("prompt")) == sorted(names)


def test_two_stores_share_a_database(tmp_path: Path, clock: Any, url: str, soft: Any) -> None:
    for folder in ("one", "two"):
        stores = Stores(str(tmp_path / folder / "store"), clock=clock)
        stores.prompts.create(f"prompt-{folder}", prompt=soft(0))
        index = index_of(tmp_path / folder, url=url, clock=clock)
        build(stores, index, clock)
        assert list(index.names("prompt")) == [f"prompt-{folder}"]


def test_a_server_that_does_not_answer_leaves_the_lists_to_the_files(
    tmp_path: Path, plain: Stores, clock: Any, url: str, soft: Any
) -> None:
    plain.prompts.create("qa", prompt=soft(0))
    index = index_of(tmp_path, url=f"postgresql://atlas@/postgres?host={tmp_path}", clock=clock)
    with pytest.raises(IndexUnavailable):
        list(index.names("prompt"))
    prompts = PromptStore(plain.artifacts, clock=clock, index=index)
    assert [row.name for row in prompts.list_names(limit=5, after=None).items] == ["qa"]
