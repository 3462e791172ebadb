"""Key-value files: a flat space of keys like ``prompts/qa/aliases/live.json`` on a local disk or another filesystem.

Both write operations are atomic: ``put`` replaces, ``create`` succeeds for exactly one writer. The crash safety of the
store is built on these two operations and their order. Large files are written by ``put_file`` and read by ``open``.
This module does not know manifests.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from service.store.files.failures import TranslatingReader, os_errors_as_unavailable

TEMPORARY = ".tmp-"
"""Prefix of temporary names; no key of the store starts with it."""

RESERVE = "reserve"
"""Key of the file that occupies the reserved space."""

RESERVE_BYTES = 256 * 1024
_MIN_FREE_BYTES = 8 * RESERVE_BYTES
_PROBE = b"\0" * 4096

BLOCK_BYTES = 1024 * 1024
"""Size of the blocks in which files are copied and read."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One stored file. modified_s: seconds since 1970, None if the filesystem does not report it. n_bytes: its size."""

    key: str
    modified_s: float | None
    n_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Digest:
    """Hash and size of a file. sha256: 64 hexadecimal digits."""

    sha256: str
    n_bytes: int


class Files(Protocol):
    """Filesystem interface of the store. All errors except the two named ones are raised as Unavailable."""

    def read(self, key: str) -> bytes:
        """All bytes; FileNotFoundError if the file does not exist."""

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those of ``keys`` that exist."""

    def put(self, key: str, data: bytes) -> None:
        """Write atomically: readers see either the old or the new content."""

    def put_file(self, key: str, path: Path) -> Digest:
        """Like ``put``, from a local file, copied in blocks; FileNotFoundError if it does not exist.

        The file must not change meanwhile.
        """

    def open(self, key: str) -> io.RawIOBase:
        """Open for sequential reading, without seek; FileNotFoundError if the file does not exist."""

    def local_path(self, key: str) -> Path | None:
        """Path of a file for reading, if the filesystem is local; None if it is not. The file need not exist."""

    def create(self, key: str, data: bytes) -> None:
        """Like ``put``, but FileExistsError if ``key`` exists; of concurrent writers exactly one succeeds."""

    def remove(self, key: str) -> None:
        """Remove ``key``; no error if it does not exist."""

    def remove_folder(self, folder: str) -> None:
        """Remove all files in ``folder`` and below, not atomically; no error if it does not exist."""

    def names(self, folder: str) -> list[str]:
        """Sorted names of files and folders directly in ``folder``; empty if the folder does not exist."""

    def walk(self) -> Iterator[FileEntry]:
        """All files, including temporary ones."""

    def check(self) -> None:
        """Raise Unavailable unless the filesystem is reachable and a file can be written.

        Where writing is slow or costs money, it is tried at times only; see ``write_probe``.
        """

    def hold_reserve(self) -> None:
        """Occupy a little space, if there is enough, that ``release_reserve`` frees on a full disk. Failures are ignored."""

    def release_reserve(self) -> bool:
        """Free the reserved space; returns whether there was any."""


class LocalFiles:
    """Files under one directory of a local disk, or of a mounted filesystem with hard links."""

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)

    def read(self, key: str) -> bytes:
        with os_errors_as_unavailable("read"):
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
        with os_errors_as_unavailable("written"), _temporary_file_for(path, [data]) as temporary:
            os.replace(temporary, path)
            _sync_folder(os.path.dirname(path))

    def put_file(self, key: str, path: Path) -> Digest:
        target = self._path(key)
        with open(path, "rb") as source:
            blocks = HashedBlocks(source)
            with os_errors_as_unavailable("written"), _temporary_file_for(target, blocks) as temporary:
                os.replace(temporary, target)
                _sync_folder(os.path.dirname(target))
        return blocks.digest

    def open(self, key: str) -> io.RawIOBase:
        with os_errors_as_unavailable("read"):
            try:
                return TranslatingReader(open(self._path(key), "rb", buffering=0), translate=os_errors_as_unavailable)
            except NotADirectoryError as error:
                raise FileNotFoundError from error

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with os_errors_as_unavailable("written"), _temporary_file_for(path, [data]) as temporary:
            # Unlike a rename, a link never replaces: of concurrent writers exactly one creates the name.
            os.link(temporary, path)
            os.unlink(temporary)
            _sync_folder(os.path.dirname(path))

    def local_path(self, key: str) -> Path | None:
        return Path(self._path(key))

    def remove(self, key: str) -> None:
        path = self._path(key)
        with os_errors_as_unavailable("written"), suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
            _sync_folder(os.path.dirname(path))

    def remove_folder(self, folder: str) -> None:
        path = self._path(folder)
        with os_errors_as_unavailable("written"), suppress(FileNotFoundError, NotADirectoryError):
            shutil.rmtree(path)
            _sync_folder(os.path.dirname(path))

    def names(self, folder: str) -> list[str]:
        with os_errors_as_unavailable("read"):
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
                    status = os.stat(path)
                    yield FileEntry(key=key, modified_s=status.st_mtime, n_bytes=status.st_size)

    def check(self) -> None:
        with os_errors_as_unavailable("reached"):
            _make_folder(self._root)
            if not os.access(self._root, os.R_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            # Not synced: the file is removed before it reaches the disk, but its space is allocated.
            probe = os.path.join(self._root, TEMPORARY + secrets.token_hex(8))
            try:
                _write(probe, [_PROBE], sync=False)
            finally:
                with suppress(OSError):
                    os.unlink(probe)

    def hold_reserve(self) -> None:
        path = self._path(RESERVE)
        with suppress(OSError):
            if os.path.exists(path) or _free_bytes(self._root) < _MIN_FREE_BYTES:
                return
            # Random bytes, because a filesystem may compress others.
            with _temporary_file_for(path, [os.urandom(RESERVE_BYTES)]) as temporary:
                os.replace(temporary, path)

    def release_reserve(self) -> bool:
        try:
            os.unlink(self._path(RESERVE))
        except OSError:
            return False
        return True

    def _path(self, key: str) -> str:
        return os.path.join(self._root, *key.split("/"))


class HashedBlocks:
    """Iterator over the blocks of an open file that hashes them."""

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
        """Digest of the blocks read so far."""
        return Digest(sha256=self._sha256.hexdigest(), n_bytes=self._n_bytes)


@contextmanager
def _temporary_file_for(path: str, blocks: Iterable[bytes]) -> Iterator[str]:
    """A synced temporary file with ``blocks`` in the folder of ``path``; removed if the block raises."""
    folder = os.path.dirname(path)
    _make_folder(folder)
    temporary = os.path.join(folder, TEMPORARY + secrets.token_hex(8))
    try:
        _write(temporary, blocks)
        yield temporary
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _write(path: str, blocks: Iterable[bytes], *, sync: bool = True) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for block in blocks:
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _make_folder(path: str) -> None:
    """Like ``os.makedirs``, but each new directory is synced to disk before files are created in it."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    with suppress(FileExistsError):
        os.mkdir(path)
    _sync_folder(parent)


def _sync_folder(path: str) -> None:
    """Sync the directory entries of a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
