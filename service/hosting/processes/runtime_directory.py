"""Runtime directory of one service: its socket and its unsent results, in memory where the system allows.

A lock file is held while the service runs, so that the directory of a killed service is recognised as stale and removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.store.locked_folders import LockedFolder

_PREFIX = "promptatlas-service-"


def memory_folder() -> Path:
    """``/dev/shm`` if it is writable, else the folder for temporary files."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Paths inside the runtime directory of one service."""

    folder: Path

    def socket_path(self, engine: int = 0) -> str:
        """Path of an engine's socket."""
        return str(self.folder / f"engine-{engine}.sock")

    def results_folder(self, generation: int, *, engine: int = 0) -> Path:
        """Folder of the results of one engine process: of this engine and generation."""
        return self.folder / f"results-{engine}-{generation}"

    def sweep(self, generation: int, *, engine: int = 0) -> None:
        """Remove the results of one engine process, after its end."""
        shutil.rmtree(self.results_folder(generation, engine=engine), ignore_errors=True)

    def sweep_all(self) -> None:
        """Remove results that a dead API process can no longer fetch; the folders are kept for the engine."""
        for path in self.folder.glob("results-*/*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_runtime(parent: Path) -> Iterator[Runtime]:
    """Create the directory of a service under ``parent``, after removing stale ones; remove it on exit."""
    with LockedFolder(parent, prefix=_PREFIX) as folder:
        yield Runtime(folder=folder)
