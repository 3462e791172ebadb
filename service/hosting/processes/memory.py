"""Memory of the host, and the share of it that one run may use. Neither depends on what is free at the moment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from service.hosting.processes.threads import control_groups
from service.settings import Settings

_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""Files of a control group, of version 2 and version 1."""


def host_memory_bytes(*, root: Path = Path("/")) -> int:
    """Memory that the processes of this host or container may use: that of the machine, or the limit of a control group.

    Args:
        root: of the file system, for tests.
    """
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_limit(folder / name) for folder in control_groups("memory", root=root) for name in _LIMITS)
    return min([n_bytes, *(limit for limit in limits if limit is not None)])


def memory_share(settings: Settings) -> float:
    """The share of the memory of its device, or of the host on a CPU, that each run may use.

    Without a number in the settings, the runs of all workers and one engine have equal shares.
    """
    return settings.memory_share or 1 / (max(1, settings.workers) + 1)


def equal_share(device: str | None, *, workers: Sequence[str | None], visible: Sequence[str], n_engines: int) -> float:
    """The share of each process on a device, if all engines and workers of this host that use the device have equal shares.

    Args:
        device: of a worker, as in ``workers``; None: it may use every device, or the CPU.
        workers: the device of each worker.
        visible: CUDA devices of this host, which the engines use one after the other, and again from the first.
    """
    n_workers = sum(device is None or other is None or other == device for other in workers)
    engines = [visible[number % len(visible)] if visible else None for number in range(n_engines)]
    return 1 / (max(1, n_workers) + sum(device is None or other is None or other == device for other in engines))


def _limit(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text())  # "max", of a group without a limit, is no number
    return None
