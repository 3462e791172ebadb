"""Check whether a store can be written, at times only, because each write to an object store costs time and money."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from service.errors import StoreUnavailable
from service.store.files.files import TEMPORARY

PROBE = f"{TEMPORARY}probe"
"""Key of the file that is written and removed to check the credentials."""

EVERY_S = 120.0
"""Seconds between two writes that succeed."""

RETRY_S = 15.0
"""Seconds after which a write that failed is tried again."""


class Writable(Protocol):
    """Part of ``Files``; both methods raise StoreUnavailable."""

    def put(self, key: str, data: bytes) -> None: ...

    def remove(self, key: str) -> None: ...


class WriteProbe:
    """Remembers whether the last write succeeded, and repeats it when that is old; thread-safe.

    Args:
        files: A small file is written to them, and removed.
        clock: Monotonic seconds.
    """

    def __init__(self, files: Writable, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._due_s: float | None = None
        self._error: StoreUnavailable | None = None

    def check(self) -> None:
        """Raise the StoreUnavailable of the last write, if it failed; write first if that is due."""
        with self._lock:
            now_s = self._clock()
            if self._due_s is None or now_s >= self._due_s:
                self._error = self._try()
                self._due_s = now_s + (EVERY_S if self._error is None else RETRY_S)
            if self._error is not None:
                # Raised many times: each time would add to its traceback.
                raise self._error.with_traceback(None)

    def _try(self) -> StoreUnavailable | None:
        try:
            # One name for all processes, so that at most one file is left behind where removal is denied.
            self._files.put(PROBE, b"probe")
            self._files.remove(PROBE)
        except StoreUnavailable as error:
            return error
        return None
