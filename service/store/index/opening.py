"""The index that the settings choose."""

from __future__ import annotations

from service.store.artifacts.store import ArtifactStore
from service.store.host_cache import host_cache_folder
from service.store.index.database import Dialect
from service.store.index.dialects import PostgreSQL, SQLite
from service.store.index.index import StoreIndex, store_id

_FOLDER = "index"


def open_index(artifacts: ArtifactStore, *, home: str, index: str, cache: str | None) -> StoreIndex | None:
    """The index of a store; None if there is to be none. Does not access the database.

    Args:
        artifacts: The store.
        home: Its URL.
        index: ``sqlite``, ``off``, or the URL of a PostgreSQL database.
        cache: ``PROMPTATLAS_CACHE``, the folder of this host.

    Raises:
        StoreUnavailable: psycopg is needed and is not installed.
    """
    # A store in memory is small, and ends with its process.
    if index == "off" or home.startswith("memory://"):
        return None
    dialect: Dialect
    if index == "sqlite":
        dialect = SQLite(host_cache_folder(home, cache=cache) / _FOLDER / f"{store_id(home)}.sqlite3")
    else:
        dialect = PostgreSQL(index)
    return StoreIndex(artifacts, dialect=dialect, address=home)
