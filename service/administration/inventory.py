"""One listing of a store, by key."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from service.store.artifacts.store import MANIFEST
from service.store.files.files import TEMPORARY, FileEntry, Files
from service.store.host_cache import CACHE

QUARANTINE = "quarantine"
"""Folder of damaged copies that were taken out of service."""

_NOT_ARTIFACTS = ("queue", "reserve", QUARANTINE, "leases", "changes", CACHE)


class Inventory:
    """The files of a store at one time. Files that are written or removed meanwhile may be missing or included."""

    def __init__(self, files: Files) -> None:
        self._entries = {entry.key: entry for entry in files.walk()}
        self._keys = sorted(self._entries)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> FileEntry | None:
        """The file with this key."""
        return self._entries.get(key)

    def under(self, folder: str) -> Iterator[FileEntry]:
        """The files in a folder and below, in order of their keys. ``""``: all."""
        prefix = f"{folder}/" if folder else ""
        for place in range(bisect_left(self._keys, prefix), len(self._keys)):
            if not self._keys[place].startswith(prefix):
                return
            yield self._entries[self._keys[place]]

    def n_bytes(self, folder: str) -> int:
        """Bytes of the files in a folder and below."""
        return sum(entry.n_bytes for entry in self.under(folder))

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, sorted, without temporary files."""
        start = len(folder) + 1
        found = {entry.key[start:].split("/", 1)[0] for entry in self.under(folder)}
        return sorted(name for name in found if not name.startswith(TEMPORARY))

    def stored(self) -> Iterator[FileEntry]:
        """The files of artifacts and records, without temporary files, Redis' files, leases, changes, caches, the quarantine."""
        for entry in self.under(""):
            if entry.key.split("/", 1)[0] not in _NOT_ARTIFACTS and not name_of(entry.key).startswith(TEMPORARY):
                yield entry

    def artifact_folders(self) -> list[str]:
        """Folders with a manifest, in order."""
        return [folder_of(entry.key) for entry in self.stored() if name_of(entry.key) == MANIFEST]


def name_of(key: str) -> str:
    """The last part of a key."""
    return key.rpartition("/")[2]


def folder_of(key: str) -> str:
    """A key without its last part."""
    return key.rpartition("/")[0]
