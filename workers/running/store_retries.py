"""Trying again what the store has refused for now."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from service.errors import Unavailable

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException) -> bool:
    """Whether a disk that is full is behind this error: trying again soon would not help."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__
    return False


def persistently(
    action: Callable[[], T], *, waits_s: Sequence[float], sleep: Callable[[float], None] = time.sleep
) -> T:
    """The result of ``action``, repeated after each of ``waits_s`` while it raises Unavailable for want of anything but room."""
    waits = iter(waits_s)
    while True:
        try:
            return action()
        except Unavailable as error:
            wait_s = next(waits, None)
            if wait_s is None or is_full(error):
                raise
        sleep(wait_s)
