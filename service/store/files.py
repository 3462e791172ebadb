"""Where bytes lie: a flat space of keys like ``prompts/qa/aliases/live.json``, on a local disk or any filesystem.

Two ways to write, both all or nothing: ``put`` replaces, ``create`` succeeds for one writer only. Everything crash-safe
above is built from these two and from the order in which they are called. This module knows no manifests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from service.errors import Unavailable

TEMPORARY = ".tmp-"
"""How temporary names begin; no key of ours may begin so."""

RETRY_AFTER_S = 5.0


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One stored file. modified_s: seconds since 1970, None where the filesystem does not tell."""

    key: str
    modified_s: float | None


class Files(Protocol):
    """What the store needs of a filesystem. All but the two named errors come out as Unavailable."""

    def read(self, key: str) -> bytes:
        """All bytes; FileNotFoundError when there is no such file."""

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those of ``keys`` that exist."""

    def put(self, key: str, data: bytes) -> None:
        """Make ``key`` hold ``data``: readers see what was there before, or all of the new."""

    def create(self, key: str, data: bytes) -> None:
        """As ``put``, but FileExistsError when ``key`` is there already, however many try at once."""

    def remove(self, key: str) -> None:
        """Make ``key`` be gone; fine if it is."""

    def names(self, folder: str) -> list[str]:
        """Sorted names of files and folders directly in ``folder``; empty when there is no such folder."""

    def walk(self) -> Iterator[FileEntry]:
        """Every file, temporary ones included."""

    def check(self) -> None:
        """Raise Unavailable unless the place can be reached and written."""


class LocalFiles:
    """Files under one directory of a local disk (or a mounted one that knows hard links)."""

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)

    def read(self, key: str) -> bytes:
        with _reported("read"):
            try:
                with open(self._path(key), "rb") as file:
                    return file.read()
            except NotADirectoryError as error:
                raise FileNotFoundError from error

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        found = {}
        for key in keys:
            with suppress(FileNotFoundError):
                found[key] = self.read(key)
        return found

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _reported("written"), _temporary_beside(path, data) as temporary:
            os.replace(temporary, path)
            _sync_folder(os.path.dirname(path))

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _reported("written"), _temporary_beside(path, data) as temporary:
            # Unlike a rename, a link never replaces: of many writers exactly one gets the name.
            os.link(temporary, path)
            os.unlink(temporary)
            _sync_folder(os.path.dirname(path))

    def remove(self, key: str) -> None:
        path = self._path(key)
        with _reported("written"), suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
            _sync_folder(os.path.dirname(path))

    def names(self, folder: str) -> list[str]:
        with _reported("read"):
            try:
                names = os.listdir(self._path(folder))
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    def walk(self) -> Iterator[FileEntry]:
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):
                    key = os.path.relpath(path, self._root).replace(os.sep, "/")
                    yield FileEntry(key=key, modified_s=os.stat(path).st_mtime)

    def check(self) -> None:
        with _reported("reached"):
            _make_folder(self._root)
            if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, os.strerror(13))

    def _path(self, key: str) -> str:
        return os.path.join(self._root, *key.split("/"))


@contextmanager
def _reported(action: str) -> Iterator[None]:
    """Turn what the disk complains of into Unavailable, without telling where the disk is."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        raise Unavailable(f"The store could not be {action}: {reason}.", retry_after_s=RETRY_AFTER_S) from error


@contextmanager
def _temporary_beside(path: str, data: bytes) -> Iterator[str]:
    """A synced file with ``data`` in the folder of ``path``; gone afterwards unless it was renamed."""
    folder = os.path.dirname(path)
    _make_folder(folder)
    temporary = os.path.join(folder, TEMPORARY + secrets.token_hex(8))
    try:
        _write_synced(temporary, data)
        yield temporary
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _write_synced(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(path: str) -> None:
    """Like ``os.makedirs``, but each new name reaches the disk before anything is put under it."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    with suppress(FileExistsError):
        os.mkdir(path)
    _sync_folder(parent)


def _sync_folder(path: str) -> None:
    """Make the names in a folder durable. Filesystems that cannot sync a folder keep their own order."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
