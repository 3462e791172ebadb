"""Threads and priorities of the processes that run models, so that a run on a worker and the engine share one machine.

Libraries read the number of threads from the environment when they are loaded, so it is set before the process starts.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.settings import Settings

BLAS_THREADS: Final = "OPENBLAS_NUM_THREADS"
"""Variable of the BLAS in numpy, which is all that the API process computes with."""

_POOLS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", BLAS_THREADS, "RAYON_NUM_THREADS")
_SPINS: Final = "GOMP_SPINCOUNT"
_POLICY: Final = "OMP_WAIT_POLICY"
_BLOCK_TIME: Final = "KMP_BLOCKTIME"
ENGINE_SPINS: Final = 100_000
"""Longer than the pauses within a forward; while a run computes, the engine waits shortly (``waits.ShortWaits``)."""

RUN_SPINS: Final = 1_800
"""A run shares its cores with the engine, which must not wait for its spinning threads; see decision 45."""

_BLOCK_TIME_MS: Final = 1
_NICE_OF_ONE, _MAX_NICE = 2, 19
_WEIGHT_OF_NICE: Final = 1.25  # Linux: each step of nice divides the share of a process by this number
_AUTOGROUP_TRIES, _AUTOGROUP_PAUSE_S = 5, 0.12


@dataclass(frozen=True, kw_only=True)
class ThreadPlan:
    """Threads of each process that runs models. engine: of each engine process. worker: of each run on a worker.

    worker_nice: how far the priority of each run is lowered.
    """

    engine: int
    worker: int
    worker_nice: int

    @classmethod
    def of(cls, settings: Settings, *, n_cores: int) -> ThreadPlan:
        """The numbers that are set, else equal shares of all cores for the engines, and for the workers.

        By default, an engine and workers that all want every core share them about 3 : 2, however many workers there are.
        """
        n_workers = max(1, settings.workers)
        share = max(1, n_cores // n_workers)
        nice = min(_MAX_NICE, _NICE_OF_ONE + round(math.log(n_workers, _WEIGHT_OF_NICE)))
        return cls(
            engine=settings.threads or max(1, n_cores // len(settings.engines)),
            worker=settings.worker_threads or share,
            worker_nice=nice if settings.worker_nice is None else settings.worker_nice,
        )


def thread_environ(environ: Mapping[str, str], *, n_threads: int, n_spins: int, is_set: bool) -> dict[str, str]:
    """``environ`` with ``n_threads`` for each library, and with short waits of idle threads.

    Threads of OpenMP wait for their next task in a busy loop of some milliseconds, by default. On cores that they share with
    another process, they delay it, and the threads of their own process that it has displaced.

    Args:
        n_spins: of an idle thread before it sleeps.
        is_set: a setting gives the number, so it replaces numbers in ``environ``, which take precedence otherwise.
    """
    numbers = dict.fromkeys(_POOLS, str(n_threads))
    waits = (
        {}
        if {_SPINS, _POLICY, _BLOCK_TIME} & environ.keys()
        # With this policy, libgomp waits for 1,000 spins at most whenever threads outnumber cores.
        else {_POLICY: "active", _SPINS: str(n_spins), _BLOCK_TIME: str(_BLOCK_TIME_MS)}
    )
    return {**waits, **environ, **numbers} if is_set else {**waits, **numbers, **environ}


@contextlib.contextmanager
def environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Replace ``os.environ`` in the block, for a process that inherits it. Only for processes with one thread."""
    before = dict(os.environ)
    _replace(environ)
    try:
        yield
    finally:
        _replace(before)


def available_cores(*, root: Path = Path("/")) -> int:
    """Number of cores that this process may use: its affinity, and the CPU quota of its control groups, rounded up.

    Args:
        root: of the file system, for tests.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quotas = [quota for folder in control_groups("cpu", root=root) if (quota := _quota(folder)) is not None]
    return max(1, min(n_cores, *(math.ceil(quota) for quota in quotas)) if quotas else n_cores)


def lower_priority(nice: int, *, process: Path = Path("/proc/self"), pause_s: float = _AUTOGROUP_PAUSE_S) -> None:
    """Lower the priority of this process by ``nice``, also that of its session if the kernel schedules sessions as groups.

    The process must lead a session of its own.

    Args:
        process: its folder in ``/proc``, for tests. pause_s: between attempts, because the kernel limits changes.
    """
    if nice == 0:
        return
    os.nice(nice)
    group = process / "autogroup"
    for _ in range(_AUTOGROUP_TRIES if group.is_file() else 0):
        if _is_written(group, str(nice)):
            return
        time.sleep(pause_s)


def _is_written(path: Path, text: str) -> bool:
    """Whether another attempt would change nothing."""
    try:
        path.write_text(text)
    except BlockingIOError:
        return False
    except OSError:  # read-only, or not permitted: the priority of the process remains
        return True
    return True


def _replace(environ: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)


def control_groups(controller: str, *, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of the control groups of this process that a controller, such as ``cpu``, may limit, with those that contain them.

    Args:
        root: of the file system, for tests.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if controllers and controller not in names:
            continue
        base = mount if not controllers else next(filter(Path.is_dir, (mount / controllers, mount / "cpu")), mount)
        # In a container the path may be one of the host, which is not visible: then the root is the container's group.
        folder = base / path.lstrip("/")
        while folder != base:
            yield folder
            folder = folder.parent
        yield base


def _quota(folder: Path) -> float | None:
    """CPU time per time that a control group allows, in cores; None for no limit."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        microseconds = int((folder / "cpu.cfs_quota_us").read_text())
        return None if microseconds <= 0 else microseconds / int((folder / "cpu.cfs_period_us").read_text())
    return None
