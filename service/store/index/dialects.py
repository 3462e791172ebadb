"""SQLite and PostgreSQL, as far as they differ for the index."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from service.errors import StoreUnavailable

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOCK_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 3
_STATEMENT_TIMEOUT_MS = 5000


class SQLite:
    """A database in a file of this host, shared by its processes.

    Args:
        path: Created with its folder when it is first opened.
    """

    parameter = "?"
    text = "TEXT NOT NULL"
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> Any:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A power cut may lose the last commits, but not damage the file; the changes are then read again.
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def discard_if_damaged(self, error: Exception) -> None:
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


class PostgreSQL:
    """A database that several hosts share, by psycopg.

    Args:
        url: ``postgresql://…``.

    Raises:
        StoreUnavailable: psycopg is not installed.
    """

    parameter = "%s"
    # Other collations do not sort by code point.
    text = 'TEXT COLLATE "C" NOT NULL'

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # an optional requirement
        except ImportError as error:
            raise StoreUnavailable(
                "The index of the store cannot be used: PROMPTATLAS_INDEX=postgresql://… needs psycopg; run "
                "pip install 'promptatlas-server[postgresql]'."
            ) from error
        self._psycopg = psycopg
        self._url = url
        self.errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def connect(self) -> Any:
        return self._psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            options=f"-c statement_timeout={_STATEMENT_TIMEOUT_MS}",
        )

    def discard_if_damaged(self, error: Exception) -> None:
        """Nothing: the server repairs its files, or its operator does."""
