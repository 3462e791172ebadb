"""A small disk that can be filled and write-protected: a file system in memory, or without root an imitation of one.

The imitation is a module that every process of the service imports at its start (``injected/sitecustomize.py``). It makes
writes below the store fail while a switch file exists.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

SIZE_BYTES = 64 << 20
INJECTED = Path(__file__).resolve().parent / "injected"


class SmallDisk(Protocol):
    """A folder that can be made full or read-only. environ: variables of the processes that write to it."""

    folder: Path
    environ: dict[str, str]

    def fill(self) -> None:
        """Take all free space, as another program would."""

    def clear(self) -> None:
        """Free that space."""

    def protect(self) -> None:
        """Refuse every write."""

    def unprotect(self) -> None:
        """Accept writes again."""


class MemoryDisk:
    """A tmpfs of limited size; needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: dict[str, str] = {}

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1 << 20, 4096):
                while ballast.write(b"\0" * size) == size:
                    pass

    def clear(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def protect(self) -> None:
        _mount("-o", "remount,ro", str(self.folder))

    def unprotect(self) -> None:
        _mount("-o", "remount,rw", str(self.folder))


class ImitatedDisk:
    """A folder below which writes fail in the service's processes, with the error that the switch file names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._switch = folder.parent / f"{folder.name}.fault"
        self.environ = {
            "PYTHONPATH": str(INJECTED),
            "CHAOS_FAULTY_FOLDER": str(folder),
            "CHAOS_FAULT_SWITCH": str(self._switch),
        }

    def fill(self) -> None:
        self._set("ENOSPC")

    def clear(self) -> None:
        self._switch.unlink(missing_ok=True)

    def protect(self) -> None:
        self._set("EROFS")

    def unprotect(self) -> None:
        self._switch.unlink(missing_ok=True)

    def _set(self, name: str) -> None:
        new = self._switch.with_suffix(".new")
        new.write_text(name)
        new.replace(self._switch)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """A disk mounted at ``folder``, which is created; an imitation if nothing can be mounted."""
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        yield ImitatedDisk(folder)
        return
    try:
        yield MemoryDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        raise PermissionError("only root can mount")
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
