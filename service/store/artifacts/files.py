"""Where bytes lie: a flat space of keys like ``prompts/qa/aliases/live.json``, on a local disk or any filesystem.

Two ways to write, both all or nothing: ``put`` replaces, ``create`` succeeds for one writer only. Everything crash-safe
above is built from these two and from the order in which they are called. What does not fit in memory goes in by
``put_file`` and comes out by ``open``. This module knows no manifests.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from service.errors import Unavailable

TEMPORARY = ".tmp-"
"""How temporary names begin; no key of ours may begin so."""

RETRY_AFTER_S = 5.0

BLOCK_BYTES = 1024 * 1024
"""How much of a file is in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One stored file. modified_s: seconds since 1970, None where the filesystem does not tell."""

    key: str
    modified_s: float | None


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What was read of a file. sha256: 64 hexadecimal digits."""

    sha256: str
    n_bytes: int


class Files(Protocol):
    """What the store needs of a filesystem. All but the two named errors come out as Unavailable."""

    def read(self, key: str) -> bytes:
        """All bytes; FileNotFoundError when there is no such file."""

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those of ``keys`` that exist."""

    def put(self, key: str, data: bytes) -> None:
        """Make ``key`` hold ``data``: readers see what was there before, or all of the new."""

    def put_file(self, key: str, path: Path) -> Digest:
        """As ``put``, with what a file on this machine holds, a block at a time; FileNotFoundError if it is not there.

        Nobody may change the file meanwhile.
        """

    def open(self, key: str) -> io.RawIOBase:
        """A reader from the beginning, which cannot seek; FileNotFoundError when there is no such file."""

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
        with reported("read"):
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
        with reported("written"), _temporary_beside(path, [data]) as temporary:
            os.replace(temporary, path)
            _sync_folder(os.path.dirname(path))

    def put_file(self, key: str, path: Path) -> Digest:
        target = self._path(key)
        with open(path, "rb") as source:
            blocks = HashedBlocks(source)
            with reported("written"), _temporary_beside(target, blocks) as temporary:
                os.replace(temporary, target)
                _sync_folder(os.path.dirname(target))
        return blocks.digest

    def open(self, key: str) -> io.RawIOBase:
        with reported("read"):
            try:
                return ReportedReader(open(self._path(key), "rb", buffering=0), reported=reported)
            except NotADirectoryError as error:
                raise FileNotFoundError from error

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with reported("written"), _temporary_beside(path, [data]) as temporary:
            # Unlike a rename, a link never replaces: of many writers exactly one gets the name.
            os.link(temporary, path)
            os.unlink(temporary)
            _sync_folder(os.path.dirname(path))

    def remove(self, key: str) -> None:
        path = self._path(key)
        with reported("written"), suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
            _sync_folder(os.path.dirname(path))

    def names(self, folder: str) -> list[str]:
        with reported("read"):
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
        with reported("reached"):
            _make_folder(self._root)
            if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, os.strerror(13))

    def _path(self, key: str) -> str:
        return os.path.join(self._root, *key.split("/"))


class HashedBlocks:
    """The blocks of an open file, hashed as they go by."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        while block := self._source.read(BLOCK_BYTES):
            self._sha256.update(block)
            self._n_bytes += len(block)
            yield block

    @property
    def digest(self) -> Digest:
        """Of what has gone by so far."""
        return Digest(sha256=self._sha256.hexdigest(), n_bytes=self._n_bytes)


class ReportedReader(io.RawIOBase):
    """Reads on from an open file; what goes wrong on the way is Unavailable, as it is when opening."""

    def __init__(self, file: Any, *, reported: Callable[[str], AbstractContextManager[None]]) -> None:
        self._file = file
        self._reported = reported

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._reported("read"):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def reported(action: str) -> Iterator[None]:
    """Turn what the disk complains of into Unavailable, without telling where the disk is."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        raise Unavailable(f"The store could not be {action}: {reason}.", retry_after_s=RETRY_AFTER_S) from error


@contextmanager
def _temporary_beside(path: str, blocks: Iterable[bytes]) -> Iterator[str]:
    """A synced file with ``blocks`` in the folder of ``path``; gone afterwards unless it was renamed."""
    folder = os.path.dirname(path)
    _make_folder(folder)
    temporary = os.path.join(folder, TEMPORARY + secrets.token_hex(8))
    try:
        _write_synced(temporary, blocks)
        yield temporary
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _write_synced(path: str, blocks: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for block in blocks:
            view = memoryview(block)
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
