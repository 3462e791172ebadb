"""Without a usable database, lists are right; when it can be used again, it is."""

from __future__ import annotations

import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.store.index.changes import KEPT, Changes
from service.store.index.database import IndexUnavailable
from service.store.index.index import StoreIndex
from service.store.index_upkeep import IndexUpkeep
from tests.service.store.index.conftest import Stores, build


def listed(stores: Stores, **filters: Any) -> list[str]:
    return [record.id for record, _ in stores.runs.list_runs(**filters).items]


@pytest.fixture
def run_id(plain: Stores, index: StoreIndex, clock: Any) -> str:
    """A run in a built index."""
    found = plain.runs.create("tune", spec={}).id
    build(plain, index, clock)
    return found


def keep(stores: Stores, index: StoreIndex) -> None:
    IndexUpkeep(stores.artifacts, index=index).check()


def test_a_damaged_database_is_replaced(
    plain: Stores, indexed: Stores, index: StoreIndex, database: Path, run_id: str
) -> None:
    index.database.close()
    database.write_bytes(b"no database " * 1000)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    assert listed(indexed) == [run_id]
    keep(plain, index)
    index.catch_up()
    assert listed(indexed) == [run_id]


def test_a_deleted_database_is_built_again(
    plain: Stores, indexed: Stores, index: StoreIndex, database: Path, run_id: str
) -> None:
    index.database.close()
    database.unlink()
    assert listed(indexed) == [run_id]
    keep(plain, index)
    index.catch_up()


def test_a_locked_database_is_waited_for_and_then_passed_over(
    plain: Stores, indexed: Stores, index: StoreIndex, database: Path, run_id: str
) -> None:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    second = plain.runs.create("tune", spec={}).id
    assert listed(indexed) == [second, run_id]
    with pytest.raises(IndexUnavailable, match="locked"):
        index.catch_up()
    other.execute("ROLLBACK")
    other.close()
    index.catch_up()
    assert listed(indexed) == [second, run_id]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_error(
    plain: Stores, indexed: Stores, index: StoreIndex, database: Path
) -> None:
    database.parent.mkdir(mode=0o500)
    run_id = plain.runs.create("tune", spec={}).id
    keep(plain, index)
    assert listed(indexed) == [run_id]


def test_a_folder_that_is_a_file_is_no_error(plain: Stores, indexed: Stores, index: StoreIndex, database: Path) -> None:
    database.parent.write_text("a file")
    run_id = plain.runs.create("tune", spec={}).id
    keep(plain, index)
    assert listed(indexed) == [run_id]
    with pytest.raises(IndexUnavailable):
        index.catch_up()


def test_an_index_that_has_missed_too_much_is_built_again(
    plain: Stores, indexed: Stores, index: StoreIndex, run_id: str, clock: Any
) -> None:
    second = plain.runs.create("tune", spec={}).id
    clock.advance(hours=KEPT / timedelta(hours=1) + 1)
    assert Changes(plain.artifacts, clock=clock).sweep() == 1
    assert not index.is_built()
    assert listed(indexed) == [second, run_id]
    build(plain, index, clock)
    assert listed(indexed, status="queued") == [second, run_id]


def test_reindex_finds_and_repairs_what_differs(
    plain: Stores, indexed: Stores, index: StoreIndex, run_id: str, clock: Any, soft: Any
) -> None:
    plain.prompts.create("qa", prompt=soft(0))
    index.catch_up()
    with sqlite3.connect(index.database._dialect._path) as database:  # type: ignore[attr-defined]
        database.execute("UPDATE listed_runs SET status = 'failed', event_id = 99")
        database.execute("UPDATE listed_names SET name = 'other'")
    clock.advance(hours=1)
    report = build(plain, index, clock)
    assert (report.n_entries, report.n_missing, report.n_changed, report.n_extra) == (2, 1, 1, 1)
    assert listed(indexed, status="queued") == [run_id]
    again = build(plain, index, clock)
    assert (again.n_entries, again.n_missing, again.n_changed, again.n_extra) == (2, 0, 0, 0)
