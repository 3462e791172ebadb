"""The folder of one running service: its socket and the results on their way out, in memory where the system allows.

A lock file is held for the life of the processes, so what a killed service left behind is known as stale and swept.
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
    """``/dev/shm`` where it can be written, else the folder for temporary files."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Paths inside the folder of one service."""

    folder: Path

    @property
    def socket_path(self) -> str:
        """Where the engine process listens."""
        return str(self.folder / "engine.sock")

    def results_folder(self, generation: int) -> Path:
        """Where the engine process of this generation writes its results."""
        return self.folder / f"results-{generation}"

    def sweep(self, generation: int) -> None:
        """Remove what the dead engine process of this generation left."""
        shutil.rmtree(self.results_folder(generation), ignore_errors=True)

    def sweep_all(self) -> None:
        """Remove results that a dead API process can no longer fetch; the folders stay for the engine to write to."""
        for path in self.folder.glob("results-*/*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_runtime(parent: Path) -> Iterator[Runtime]:
    """Make the folder of a service under ``parent``, sweeping those of services that are no more; remove it at the end."""
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
