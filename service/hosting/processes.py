"""Ties between processes, so that none outlives the service."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


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
