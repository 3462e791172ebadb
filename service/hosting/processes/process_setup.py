"""What a process does to itself when it begins: ties to its parent, so that none outlives the service, and its memory."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _HEAP_BYTES = 256 << 20, 32 << 20  # the second is the most that glibc takes
_MALLOC_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when ``parent_pid``, its parent, ends, however it ends (Linux only).

    The tie is to the parent's thread that started this process, which must live as long as the parent itself.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it was gone before the tie was made
        os._exit(1)


def ignore_interrupts() -> None:
    """Leave Ctrl-C, which a terminal sends to the whole family, to the process that leads it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def keep_freed_memory() -> bool:
    """Have the C library keep some freed memory for the next forward; returns whether it does so now.

    A forward on a CPU makes and drops the same few megabytes in every layer. glibc gives them back to the kernel each time,
    which then clears every page anew: a sixth of a harvest's time. Where the environment sets malloc up, that counts; other
    C libraries are left alone.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _MALLOC_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
