"""Retries of store operations."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from service.errors import Unavailable

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException) -> bool:
    """Whether a full disk caused this error, so that a retry would not help."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__
    return False


def with_retries(
    action: Callable[[], T], *, waits_s: Sequence[float], sleep: Callable[[float], None] = time.sleep
) -> T:
    """The result of ``action``, retried after each of ``waits_s`` while it raises Unavailable, unless the disk is full."""
    waits = iter(waits_s)
    while True:
        try:
            return action()
        except Unavailable as error:
            wait_s = next(waits, None)
            if wait_s is None or is_full(error):
                raise
        sleep(wait_s)
