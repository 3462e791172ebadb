"""Tables of the index in SQLite or PostgreSQL.

listed_names(store, noun, name)                     names of prompts and datasets
listed_runs(store, run_id, kind, status, event_id)  newest known status of each run
listed_tags(store, tag, run_id)                     tags that runs have, or had
index_facts(store, fact, value)                     when the index was built, and up to where it has read changes
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol, TypeVar

from service.store.index.entries import DELETED, Entry, NameEntry, Noun, RunEntry, TagEntry

_Answer = TypeVar("_Answer")
_BATCH_SIZE = 5000
_PAGE_SIZES = (64, 512, 4096)
_UPSERT_NAME = "INSERT INTO listed_names VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_UPSERT_RUN = (
    "INSERT INTO listed_runs VALUES (?, ?, ?, ?, ?) ON CONFLICT (store, run_id) DO UPDATE SET kind = excluded.kind, "
    "status = excluded.status, event_id = excluded.event_id WHERE excluded.event_id >= listed_runs.event_id"
)
_UPSERT_TAG = "INSERT INTO listed_tags VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_DELETE_NAME = "DELETE FROM listed_names WHERE store = ? AND noun = ? AND name = ?"
_DELETE_RUN = "DELETE FROM listed_runs WHERE store = ? AND run_id = ?"
_DELETE_TAG = "DELETE FROM listed_tags WHERE store = ? AND tag = ? AND run_id = ?"
_DELETE_TAGS = "DELETE FROM listed_tags WHERE store = ? AND run_id = ?"
_PUT_FACT = "INSERT INTO index_facts VALUES (?, ?, ?) ON CONFLICT (store, fact) DO UPDATE SET value = excluded.value"


class IndexUnavailable(Exception):
    """The index cannot answer; lists are read from the files."""


class IndexNotBuilt(IndexUnavailable):
    """The index is new, of another store, or too old; it is to be built."""


class Dialect(Protocol):
    """What differs between the databases."""

    parameter: str
    """How a parameter is written in a statement."""

    text: str
    """Type of a text that sorts by code point."""

    errors: tuple[type[Exception], ...]
    """Errors of the driver."""

    def connect(self) -> Any:
        """A new connection of the DB-API that commits each statement, or a transaction that ``begin`` opened."""

    def discard_if_damaged(self, error: Exception) -> None:
        """Remove the database if ``error`` says that it is damaged."""


class IndexDatabase:
    """Entries of one store; thread-safe. Each method raises IndexUnavailable if the database fails.

    Args:
        dialect: The database.
        store: Identifies the store, since one database may index several.
    """

    def __init__(self, dialect: Dialect, *, store: str) -> None:
        self._dialect = dialect
        self._store = store
        self._errors: tuple[type[Exception], ...] = (*dialect.errors, OSError)
        self._lock = threading.RLock()
        self._connection: Any = None

    def names(self, noun: Noun, *, after: str | None = None) -> Iterator[str]:
        """Names after ``after``, in order of their code points."""
        for size in _page_sizes():
            rows = self._rows(
                "SELECT name FROM listed_names WHERE store = ? AND noun = ? AND name > ? ORDER BY name LIMIT ?",
                (self._store, noun, after or "", size),
            )
            yield from (name for (name,) in rows)
            if len(rows) < size:
                return
            after = rows[-1][0]

    def runs(
        self, *, kind: str | None = None, status: str | None = None, tag: str | None = None, before: str | None = None
    ) -> Iterator[tuple[str, str, str, int]]:
        """Id, kind, status and event id of runs with ids less than ``before``, in descending order."""
        table = "listed_runs" if tag is None else "listed_tags NATURAL JOIN listed_runs"
        given = (("status", status), ("kind", kind), ("tag", tag))
        filters = [(name, value) for name, value in given if value is not None]
        where = "".join(f" AND {name} = ?" for name, _ in filters)
        for size in _page_sizes():
            bound = "" if before is None else " AND run_id < ?"
            rows = self._rows(
                f"SELECT run_id, kind, status, event_id FROM {table} WHERE store = ?"
                f"{where}{bound} ORDER BY run_id DESC LIMIT ?",
                (self._store, *(value for _, value in filters), *([] if before is None else [before]), size),
            )
            yield from rows
            if len(rows) < size:
                return
            before = rows[-1][0]

    def tags(self, run_ids: Sequence[str]) -> set[TagEntry]:
        """Tags of these runs."""
        marks = ", ".join("?" * len(run_ids))
        statement = f"SELECT run_id, tag FROM listed_tags WHERE store = ? AND run_id IN ({marks})"
        rows = self._rows(statement, (self._store, *run_ids)) if run_ids else []
        return {TagEntry(run_id=run_id, tag=tag) for run_id, tag in rows}

    def put(self, entries: Iterable[Entry]) -> None:
        """Add entries; of several for one run, the one with the largest event id remains."""
        remaining = iter(entries)
        while batch := list(islice(remaining, _BATCH_SIZE)):
            runs = sorted((entry for entry in batch if isinstance(entry, RunEntry)), key=lambda entry: entry.event_id)
            live = [entry for entry in runs if entry.status != DELETED]
            deleted = [entry for entry in runs if entry.status == DELETED]
            self._write_many(
                (_UPSERT_NAME, [(self._store, e.noun, e.name) for e in batch if isinstance(e, NameEntry)]),
                (_UPSERT_RUN, [(self._store, e.run_id, e.kind, e.status, e.event_id) for e in live]),
                (_UPSERT_TAG, [(self._store, e.tag, e.run_id) for e in batch if isinstance(e, TagEntry)]),
                (_DELETE_RUN, [(self._store, e.run_id) for e in deleted]),
                (_DELETE_TAGS, [(self._store, e.run_id) for e in deleted]),
            )

    def remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries, by name or id. The tags of a run stay."""
        names = [(self._store, entry.noun, entry.name) for entry in entries if isinstance(entry, NameEntry)]
        runs = [(self._store, entry.run_id) for entry in entries if isinstance(entry, RunEntry)]
        tags = [(self._store, entry.tag, entry.run_id) for entry in entries if isinstance(entry, TagEntry)]
        self._write_many((_DELETE_NAME, names), (_DELETE_RUN, runs), (_DELETE_TAG, tags))

    def fact(self, name: str) -> str | None:
        """A stored fact, or None."""
        rows = self._rows("SELECT value FROM index_facts WHERE store = ? AND fact = ?", (self._store, name))
        return rows[0][0] if rows else None

    def put_fact(self, name: str, value: str) -> None:
        """Store a fact, replacing an existing one."""
        self._write_many((_PUT_FACT, [(self._store, name, value)]))

    def close(self) -> None:
        """Close the connection; the next access opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(*self._dialect.errors):
                    connection.close()

    def _rows(self, statement: str, values: Sequence[object]) -> list[Any]:
        def read(cursor: Any) -> list[Any]:
            cursor.execute(self._written(statement), tuple(values))
            return list(cursor.fetchall())

        return self._perform(read)

    def _write_many(self, *statements: tuple[str, Sequence[Sequence[object]]]) -> None:
        def write(cursor: Any) -> None:
            cursor.execute("BEGIN")
            for statement, rows in statements:
                if rows:
                    cursor.executemany(self._written(statement), rows)
            cursor.execute("COMMIT")

        self._perform(write)

    def _perform(self, work: Callable[[Any], _Answer]) -> _Answer:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._dialect.connect()
                    self._create_tables(self._connection)
                return work(self._connection.cursor())
            except self._errors as error:
                # The next access opens another connection, which also ends an open transaction.
                self.close()
                self._dialect.discard_if_damaged(error)
                raise IndexUnavailable(str(error)) from error

    def _create_tables(self, connection: Any) -> None:
        text = self._dialect.text
        cursor = connection.cursor()
        for statement in (
            f"CREATE TABLE IF NOT EXISTS listed_names (store {text}, noun {text}, name {text}, PRIMARY KEY (store, noun, name))",
            f"CREATE TABLE IF NOT EXISTS listed_runs (store {text}, run_id {text}, kind {text}, status {text}, event_id BIGINT, "
            "PRIMARY KEY (store, run_id))",
            "CREATE INDEX IF NOT EXISTS listed_runs_by_kind ON listed_runs (store, kind, run_id)",
            "CREATE INDEX IF NOT EXISTS listed_runs_by_status ON listed_runs (store, status, run_id)",
            "CREATE INDEX IF NOT EXISTS listed_runs_by_both ON listed_runs (store, status, kind, run_id)",
            f"CREATE TABLE IF NOT EXISTS listed_tags (store {text}, tag {text}, run_id {text}, PRIMARY KEY (store, tag, run_id))",
            "CREATE INDEX IF NOT EXISTS listed_tags_by_run ON listed_tags (store, run_id)",
            f"CREATE TABLE IF NOT EXISTS index_facts (store {text}, fact {text}, value {text}, PRIMARY KEY (store, fact))",
        ):
            cursor.execute(statement)

    def _written(self, statement: str) -> str:
        return statement.replace("?", self._dialect.parameter)


def _page_sizes() -> Iterator[int]:
    yield from _PAGE_SIZES
    while True:
        yield _PAGE_SIZES[-1]
