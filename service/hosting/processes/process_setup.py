"""Set-up of a new process: it ends with its parent, so that none outlives the service, and keeps freed memory."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _HEAP_BYTES = 256 << 20, 32 << 20  # the second is the maximum that glibc accepts
_MALLOC_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent, ``parent_pid``, ends for any reason (Linux only).

    The kernel watches the thread of the parent that started this process; it must live as long as the parent.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # the parent ended before the call
        os._exit(1)


def ignore_interrupts() -> None:
    """Ignore SIGINT, which a terminal sends to the whole process group; the main process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next forward; returns whether it does so now.

    A forward on a CPU allocates and frees the same few megabytes in every layer. By default glibc returns them to the kernel
    each time, and the kernel clears every page again: a sixth of the duration of a harvest. Nothing is changed if the
    environment configures malloc, or with another C library.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _MALLOC_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
