"""Folders with a lock that their process holds, so that the folders of killed processes are recognised and removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK = "lock"
"""Name of the lock file in each folder."""

_SCRATCH_PREFIX = "promptatlas-scratch-"


class LockedFolder:
    """A new folder, which only this user may read. It is removed by ``close``, and at the latest at the end of the process.

    Args:
        parent: In which it is created. Stale folders with the same prefix are removed first.
        prefix: Beginning of its name.
    """

    def __init__(self, parent: Path, *, prefix: str) -> None:
        _sweep(parent, prefix=prefix)
        # Under another name until it is locked, so that no other process takes it for a stale one.
        unlocked = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=parent))
        lock = (unlocked / LOCK).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.path = unlocked.rename(parent / unlocked.name.removeprefix("."))
        self._finalizer = weakref.finalize(self, _remove, self.path, lock)

    def close(self) -> None:
        """Remove the folder; no error if that was done before."""
        self._finalizer()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def scratch_folder() -> LockedFolder:
    """A folder for temporary files, also of processes that may be killed."""
    return LockedFolder(Path(tempfile.gettempdir()), prefix=_SCRATCH_PREFIX)


def sweep_scratch_folders() -> None:
    """Remove the scratch folders of processes that were killed. Errors are ignored."""
    with contextlib.suppress(OSError):
        _sweep(Path(tempfile.gettempdir()), prefix=_SCRATCH_PREFIX)


def stale_scratch_folders() -> list[Path]:
    """Scratch folders of processes that were killed, which :func:`sweep_scratch_folders` removes."""
    return list(_stale(Path(tempfile.gettempdir()), prefix=_SCRATCH_PREFIX))


def _sweep(parent: Path, *, prefix: str) -> None:
    for folder in _stale(parent, prefix=prefix):
        shutil.rmtree(folder, ignore_errors=True)


def _stale(parent: Path, *, prefix: str) -> Iterator[Path]:
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and folder.stat().st_uid == os.getuid() and not _is_held(folder / LOCK):
                yield folder


def _remove(folder: Path, lock: IO[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
