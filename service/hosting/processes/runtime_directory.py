"""Runtime directory of one service: its socket and its unsent results, in memory where the system allows.

A lock file is held while the service runs, so that the directory of a killed service is recognised as stale and removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PREFIX = "promptatlas-"
_LOCK = "lock"


def memory_folder() -> Path:
    """``/dev/shm`` if it is writable, else the folder for temporary files."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Paths inside the runtime directory of one service."""

    folder: Path

    @property
    def socket_path(self) -> str:
        """Path of the engine process's socket."""
        return str(self.folder / "engine.sock")

    def results_folder(self, generation: int) -> Path:
        """Folder of the results of this generation's engine process."""
        return self.folder / f"results-{generation}"

    def sweep(self, generation: int) -> None:
        """Remove the results of this generation's engine process, after its end."""
        shutil.rmtree(self.results_folder(generation), ignore_errors=True)

    def sweep_all(self) -> None:
        """Remove results that a dead API process can no longer fetch; the folders are kept for the engine."""
        for path in self.folder.glob("results-*/*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_runtime(parent: Path) -> Iterator[Runtime]:
    """Create the directory of a service under ``parent``, after removing stale ones; remove it on exit."""
    with _locked(parent / f"{_PREFIX}{os.getuid()}.lock"):
        _sweep_stale(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = (folder / _LOCK).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield Runtime(folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _sweep_stale(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and folder.stat().st_uid == os.getuid() and not _is_held(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
