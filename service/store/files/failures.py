"""Failures of the store, translated from errors of the operating system and of drivers, without paths in the message."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from service.errors import StoreFull, StoreReadOnly, StoreUnavailable, Unavailable

RETRY_AFTER_S = 5.0

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def store_failure(error: Exception, *, action: str) -> StoreUnavailable:
    """The error for clients. action: read, written or reached."""
    number = getattr(error, "errno", None)
    number = number if isinstance(number, int) else None
    if number is None and isinstance(error, PermissionError):
        # Drivers of object stores raise it without a number.
        number = errno.EACCES
    fallback = "input/output error" if isinstance(error, OSError) else type(error).__name__
    reason = os.strerror(number) if number else fallback
    kind: type[StoreUnavailable] = StoreUnavailable
    if number in _FULL:
        kind = StoreFull
    elif number in _READ_ONLY and action != "read":
        kind = StoreReadOnly
    return kind(f"The store could not be {action}: {reason}.", retry_after_s=RETRY_AFTER_S)


@contextmanager
def os_errors_as_unavailable(action: str) -> Iterator[None]:
    """Translate OSErrors of a local disk, except FileNotFoundError and FileExistsError."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise store_failure(error, action=action) from error


@contextmanager
def driver_errors_as_unavailable(action: str) -> Iterator[None]:
    """Translate errors of any driver, except FileNotFoundError and FileExistsError."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, Unavailable):
        raise
    except Exception as error:
        raise store_failure(error, action=action) from error


class TranslatingReader(io.RawIOBase):
    """Reader of an open file that translates errors into Unavailable."""

    def __init__(self, file: Any, *, translate: Callable[[str], AbstractContextManager[None]]) -> None:
        self._file = file
        self._translate = translate

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._translate("read"):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
