"""Cache of immutable contents in a folder of this host, shared by the processes that use it.

A file is written under a temporary name and renamed, so that readers find whole files only. Any process removes the files
that were not used for longest when the folder exceeds its limit. Contents are checked by their readers, not here: a file can
be damaged after it was written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

import structlog

_TEMPORARY = ".tmp-"
_STALE_AFTER_S = 3600.0

_log = structlog.get_logger(__name__)


class LocalCache:
    """Files by name, at most ``max_bytes`` of them; thread-safe, and safe with other processes on the same folder.

    A folder that cannot be read or written, or a full disk, is logged; the content is then not cached.

    Args:
        folder: created when the first file is put.
        max_bytes: limit of the sum of all files; a larger content is not kept.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(self, name: str) -> bytes | None:
        """The content of a file, or None if there is none."""
        path = self._folder / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("cached content cannot be read", reason=error.strerror)
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a content, and remove the least recently used ones if there are too many bytes."""
        if len(data) > self._max_bytes:
            return
        temporary = self._folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(self._folder / name)
            self._trim()
        except OSError as error:
            _log.warning("content cannot be cached", reason=error.strerror)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file, for example a damaged one; no error if there is none."""
        with contextlib.suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)

    def _trim(self) -> None:
        files = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # Another process may remove it meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    files.append((entry.stat(follow_symlinks=False), entry.name))
        kept = [(found.st_mtime_ns, name, found.st_size) for found, name in files if not name.startswith(_TEMPORARY)]
        n_bytes = sum(size for _, _, size in kept)
        for _, name, size in sorted(kept):
            if n_bytes <= self._max_bytes:
                break
            self.remove(name)
            n_bytes -= size
        for found, name in files:
            if name.startswith(_TEMPORARY) and found.st_mtime < time.time() - _STALE_AFTER_S:
                self.remove(name)
