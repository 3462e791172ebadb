"""Faults for tests: a disk that fails at one of its calls, and a store that fails, dies or forgets to answer at one write."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from service.errors import Unavailable
from service.store.files.files import Files

STEPS = ("mkdir", "open", "write", "fsync", "close", "replace", "link", "unlink")


class Crash(BaseException):
    """The process dies here."""


class FaultyOs:
    """The os module, with a fault at one of the calls that change the disk.

    dies: after the fault nothing works any more, not even cleaning up, as when the power goes; a write that dies has
    written half. Otherwise the one call fails and those after it work, as when a disk is full for a moment.
    """

    def __init__(self, *, fault_at: int, error: BaseException, dies: bool) -> None:
        self.n_calls = 0
        self._fault_at = fault_at
        self._error = error
        self._dies = dies

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in STEPS else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.n_calls += 1
            if self.n_calls == self._fault_at and name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            if self.n_calls == self._fault_at or (self._dies and self.n_calls > self._fault_at):
                raise self._error
            return real(*args)

        return call


BLOCK_BYTES = 4096


class SmallDisk:
    """The os module, with a disk of ``capacity_bytes`` for the files under ``root``, allocated in whole blocks."""

    def __init__(self, root: Path, *, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._root = root

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @property
    def free_bytes(self) -> int:
        used = sum(_in_blocks(path.stat().st_size) for path in self._root.rglob("*") if path.is_file())
        return self.capacity_bytes - used

    def fill(self) -> None:
        """Take all free space, as another program would."""
        self.capacity_bytes -= max(0, self.free_bytes)

    def write(self, descriptor: int, data: bytes) -> int:
        size = os.fstat(descriptor).st_size
        if _in_blocks(size + len(data)) - _in_blocks(size) > self.free_bytes:
            raise OSError(errno.ENOSPC, "No space left on device", str(self._root))
        return os.write(descriptor, data)

    def statvfs(self, path: str) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=self.free_bytes // BLOCK_BYTES, f_frsize=BLOCK_BYTES)


def _in_blocks(n_bytes: int) -> int:
    return -(-n_bytes // BLOCK_BYTES) * BLOCK_BYTES


WRITES = ("put", "put_file", "create", "remove", "remove_folder")

Mode = Literal["dies before", "dies after", "fails", "answer lost"]
MODES: tuple[Mode, ...] = ("dies before", "dies after", "fails", "answer lost")


class FaultyFiles:
    """Files with a fault at the nth write.

    mode: ``dies before`` and ``dies after`` that write, nothing works for the process from there on; ``fails``: that one
    write does nothing and says so; ``answer lost``: it is done and says that it was not.
    """

    def __init__(self, files: Files, *, at: int, mode: Mode) -> None:
        self.n_writes = 0
        self._files = files
        self._at = at
        self._mode = mode
        self._is_dead = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)
        if not callable(real):
            return real

        def call(*args: Any) -> Any:
            if self._is_dead:
                raise Crash
            if name not in WRITES:
                return real(*args)
            self.n_writes += 1
            return self._faulty(real, args) if self.n_writes == self._at else real(*args)

        return call

    def _faulty(self, real: Callable[..., Any], args: Any) -> Any:
        if self._mode in ("dies after", "answer lost"):
            real(*args)
        if self._mode in ("fails", "answer lost"):
            raise Unavailable("The store could not be written: No space left on device.", retry_after_s=1.0)
        self._is_dead = True
        raise Crash


class Interrupted:
    """Files that call ``meanwhile`` once, just before the first write or listing that ``at`` agrees to."""

    def __init__(self, files: Files, *, at: Callable[[str, str], bool], meanwhile: Callable[[], Any]) -> None:
        self._files = files
        self._at = at
        self._meanwhile: Callable[[], Any] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)
        if name not in (*WRITES, "names"):
            return real

        def call(key: str, *args: Any) -> Any:
            meanwhile = self._meanwhile
            if meanwhile is not None and self._at(name, key):
                self._meanwhile = None
                meanwhile()
            return real(key, *args)

        return call
