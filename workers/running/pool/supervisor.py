"""Process tree of ``python -m workers``: the workers and the reconciler.

When a worker dies, the main process, which has no connections, wakes the reconciler through a pipe.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import BinaryIO, cast

import structlog
from redis.exceptions import RedisError

from service.hosting.processes.devices import VISIBLE, cuda_devices, worker_devices
from service.hosting.processes.memory import equal_share
from service.hosting.processes.process_setup import die_with_parent, ignore_interrupts
from service.hosting.processes.supervisor import Member, Supervisor
from service.logs import configure_logs
from service.queueing.executions import Executions
from service.queueing.local_recovery import LocalRecovery
from service.queueing.monitor import QueueMonitor
from service.queueing.queue import RunQueue
from service.queueing.reconciler import Reconciler
from service.store.artifacts.store import ArtifactStore
from service.store.locked_folders import sweep_scratch_folders
from service.store.runs.store import RunStore
from workers.running.pool.rq_worker import RunWorker
from workers.running.setup import WorkSetup

_log = structlog.get_logger(__name__)

_SLACK_S = 5.0
_CONNECT_RETRY_S = 0.2


def run_workers(setup: WorkSetup, *, n_engines: int = 0) -> int:
    """Run the workers until SIGTERM or SIGINT; returns the exit status. The body of the main process, which stays light.

    Args:
        n_engines: engine processes on this host, or ranks of one, whose devices runs leave to them if there are others.
    """
    configure_logs(setup.settings.log)
    sweep_scratch_folders()
    wakeups = Wakeups.open()
    settings, visible = setup.settings, cuda_devices(os.environ)
    is_spread = settings.device_map is not None
    devices = worker_devices(
        settings.workers,
        chosen=settings.worker_devices,
        device=settings.device,
        visible=visible,
        # A device map of the engine names any of the devices, and counts them as its runs do.
        n_engines=len(visible) if is_spread and settings.tensor_parallel == 1 else n_engines,
        is_spread=is_spread,
    )
    share = functools.partial(equal_share, workers=devices, visible=visible, n_engines=n_engines)
    workers = [
        Member(
            name=f"worker {number}",
            launch=functools.partial(_launch_worker, setup=setup.with_share(share(device)), device=device),
            clean=lambda _: wakeups.send(),
            stop_s=settings.worker_grace_s + _SLACK_S,
            stops_early=True,
        )
        for number, device in enumerate(devices, 1)
    ]
    reconciler = Member(
        name="reconciler", launch=lambda _: _fork(functools.partial(_reconcile, wakeups=wakeups), setup)
    )
    return Supervisor([*workers, reconciler], on_stop=lambda: None).run()


@dataclass(frozen=True, kw_only=True)
class Wakeups:
    """Pipe from the main process to the reconciler. The main process keeps both ends, for a replaced reconciler."""

    reader: BinaryIO
    writer: int

    @classmethod
    def open(cls) -> Wakeups:
        """A new pipe, which :func:`os.fork` passes on."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        return cls(reader=cast(BinaryIO, os.fdopen(reader, "rb", buffering=0)), writer=writer)

    def send(self) -> None:
        """Wake the reconciler; never blocks."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes it as well
            os.write(self.writer, b".")


def _fork(body: Callable[[WorkSetup], None], setup: WorkSetup) -> BaseProcess:
    # Forked, so that the processes share loaded modules; connections are opened after the fork.
    process = multiprocessing.get_context("fork").Process(target=_run_member, args=(body, setup, os.getpid()))
    process.start()
    return process


def _run_member(body: Callable[[WorkSetup], None], setup: WorkSetup, parent_pid: int) -> None:
    die_with_parent(parent_pid)
    signal.set_wakeup_fd(-1)  # the wakeup descriptor belongs to the main process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ignore_interrupts()
    body(setup)


def _launch_worker(_generation: int, *, setup: WorkSetup, device: str | None) -> BaseProcess:
    return _fork(functools.partial(_work, device=device), setup)


def _work(setup: WorkSetup, *, device: str | None) -> None:
    if device is not None:
        os.environ[VISIBLE] = device  # inherited by the work horses
    worker = _connect(setup)
    worker.work(logging_level="WARNING")


def _reconcile(setup: WorkSetup, *, wakeups: Wakeups) -> None:
    queue = RunQueue.at(setup.redis_url, timing=setup.timing)
    runs = RunStore(ArtifactStore(setup.settings.home))
    max_attempts = setup.settings.run_attempts
    recovery = LocalRecovery(queue, runs, executions=Executions.at(setup.redis_url), max_attempts=max_attempts)
    # A thread of its own, so that it waits for no pass over all runs.
    threading.Thread(
        target=recovery.run, args=(wakeups.reader,), name="recover runs of dead workers", daemon=True
    ).start()
    reconciler = Reconciler(queue, runs, max_attempts=max_attempts)
    QueueMonitor(queue, reconciler).run(threading.Event())


def _connect(setup: WorkSetup) -> RunWorker:
    """A connected worker; waits until Redis is reachable."""
    is_logged = False
    while True:
        try:
            return RunWorker.of(setup)
        except RedisError:
            if not is_logged:
                _log.info("waiting for Redis")
            is_logged = True
        time.sleep(_CONNECT_RETRY_S)
