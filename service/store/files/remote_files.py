"""Files on fsspec filesystems other than S3, and memory:// for tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from service.errors import StoreUnavailable
from service.store.files.failures import TranslatingReader, driver_errors_as_unavailable
from service.store.files.files import (
    Digest,
    FileEntry,
    Files,
    HashedBlocks,
    LocalFiles,
)
from service.store.files.write_probe import WriteProbe

_N_LISTINGS = 100
_TIME_FIELDS = ("LastModified", "last_modified", "updated", "mtime", "created")


def open_files(url: str) -> Files:
    """Files at ``url``: a local directory (plain or ``file://``), ``s3://``, or an fsspec URL. Does not access the filesystem.

    Raises:
        StoreUnavailable: No driver for this URL scheme is installed, or the driver rejects the URL.
    """
    if url.startswith("s3://"):
        return _open_s3(url)
    try:
        filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except Exception as error:
        # Only the operator sees this message, at startup, and needs the driver's advice, such as which package to install.
        raise StoreUnavailable(f"The store's URL cannot be used: {error}") from error
    return LocalFiles(root) if isinstance(filesystem, LocalFileSystem) else RemoteFiles(url)


def _open_s3(url: str) -> Files:
    try:
        from service.store.files.s3_files import S3Files  # obstore is an optional requirement
    except ImportError as error:
        raise StoreUnavailable(
            "The store's URL cannot be used: s3:// needs obstore; run pip install 'promptatlas-server[s3]'."
        ) from error
    return S3Files(url)


class RemoteFiles:
    """Keys under an fsspec URL.

    Writes to object stores are atomic. ``create`` uses the driver's exclusive mode, which memory has. On other
    filesystems it checks for existence before writing, which is not safe with concurrent writers.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._create_lock = threading.Lock()
        self._probe = WriteProbe(self)

    def read(self, key: str) -> bytes:
        with driver_errors_as_unavailable("read"):
            filesystem, path = self._at(key)
            return bytes(filesystem.cat_file(path))

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        with driver_errors_as_unavailable("read"):
            filesystem, root = self._at("")
            paths = {f"{root}/{key}": key for key in keys}
            results = filesystem.cat(list(paths), on_error="return") if paths else {}
            for result in results.values():
                if isinstance(result, Exception) and not isinstance(result, FileNotFoundError):
                    raise result
        return {paths[path]: bytes(data) for path, data in results.items() if not isinstance(data, Exception)}

    def put(self, key: str, data: bytes) -> None:
        with driver_errors_as_unavailable("written"):
            filesystem, path = self._at(key)
            try:
                filesystem.pipe_file(path, data)
            except FileNotFoundError:
                # Filesystems with directories need them created first; object stores do not.
                filesystem.makedirs(filesystem._parent(path), exist_ok=True)
                filesystem.pipe_file(path, data)

    def put_file(self, key: str, path: Path) -> Digest:
        # The file is read twice, since drivers read it themselves to make multipart uploads atomic.
        with open(path, "rb") as source:
            blocks = HashedBlocks(source)
            for _ in blocks:
                pass
        with driver_errors_as_unavailable("written"):
            filesystem, target = self._at(key)
            filesystem.put_file(str(path), target)
        return blocks.digest

    def open(self, key: str) -> io.RawIOBase:
        with driver_errors_as_unavailable("read"):
            filesystem, path = self._at(key)
            return TranslatingReader(filesystem.open(path, "rb"), translate=driver_errors_as_unavailable)

    def create(self, key: str, data: bytes) -> None:
        # The lock is for memory://, whose exclusive mode is not atomic.
        with driver_errors_as_unavailable("written"), self._create_lock:
            filesystem, path = self._at(key)
            try:
                filesystem.pipe_file(path, data, mode="create")
            except (FileNotFoundError, NotImplementedError, TypeError):
                if filesystem.exists(path):
                    raise FileExistsError from None
                self.put(key, data)

    def remove(self, key: str) -> None:
        with driver_errors_as_unavailable("written"), suppress(FileNotFoundError):
            filesystem, path = self._at(key)
            filesystem.rm_file(path)

    def remove_folder(self, folder: str) -> None:
        with driver_errors_as_unavailable("written"), suppress(FileNotFoundError):
            filesystem, path = self._at(folder)
            filesystem.rm(path, recursive=True)

    def names(self, folder: str) -> list[str]:
        with driver_errors_as_unavailable("read"):
            filesystem, path = self._at(folder)
            try:
                children = _listed(filesystem, path)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted({child.rstrip("/").rpartition("/")[2] for child in children if child.rstrip("/") != path})

    def walk(self) -> Iterator[FileEntry]:
        with driver_errors_as_unavailable("read"):
            filesystem, root = self._at("")
            entries = filesystem.find(root, detail=True)
        for path, details in entries.items():
            yield FileEntry(
                key=path.removeprefix(root).lstrip("/"),
                modified_s=_modified_s(details),
                n_bytes=int(details.get("size") or 0),
            )

    def check(self) -> None:
        with driver_errors_as_unavailable("read"):
            filesystem, root = self._at("")
            with suppress(FileNotFoundError):
                filesystem.ls(root, detail=False)
        self._probe.check()

    def hold_reserve(self) -> None:
        """Nothing to do: object stores do not fill up."""

    def release_reserve(self) -> bool:
        return False

    def local_path(self, key: str) -> Path | None:
        return None

    def _at(self, key: str) -> tuple[Any, str]:
        # Resolved on each call: fsspec caches one instance per process, and an instance created before a fork must not
        # be used after it. The listing cache is off because other processes write here too.
        filesystem, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        root = root.rstrip("/")
        return filesystem, f"{root}/{key}" if key else root


def _modified_s(details: dict[str, Any]) -> float | None:
    for field in _TIME_FIELDS:
        value = details.get(field)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def _listed(filesystem: Any, path: str) -> list[str]:
    """Paths in a folder. The driver of memory:// reads a dict that other threads change, and is called again if it fails."""
    for _ in range(_N_LISTINGS):
        with suppress(KeyError, RuntimeError):
            return list(filesystem.ls(path, detail=False))
    return list(filesystem.ls(path, detail=False))
