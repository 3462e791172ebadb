"""Process tree of ``python -m workers``: the workers and the reconciler."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import structlog
from redis.exceptions import RedisError

from service.hosting.processes.process_setup import die_with_parent, ignore_interrupts
from service.hosting.processes.supervisor import Member, Supervisor
from service.logs import configure_logs
from service.queueing.monitor import QueueMonitor
from service.queueing.queue import RunQueue
from service.queueing.reconciler import Reconciler
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from workers.running.pool.rq_worker import RunWorker
from workers.running.setup import WorkSetup

_log = structlog.get_logger(__name__)

_SLACK_S = 5.0
_CONNECT_RETRY_S = 0.2


def run_workers(setup: WorkSetup) -> int:
    """Run the workers until SIGTERM or SIGINT; returns the exit status. The body of the main process, which stays light."""
    configure_logs(setup.settings.log)
    workers = [
        Member(
            name=f"worker {number}",
            launch=lambda _: _fork(_work, setup),
            stop_s=setup.settings.worker_grace_s + _SLACK_S,
            stops_early=True,
        )
        for number in range(1, setup.settings.workers + 1)
    ]
    reconciler = Member(name="reconciler", launch=lambda _: _fork(_reconcile, setup))
    return Supervisor([*workers, reconciler], on_stop=lambda: None).run()


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


def _work(setup: WorkSetup) -> None:
    worker = _connect(setup)
    worker.work(logging_level="WARNING")


def _reconcile(setup: WorkSetup) -> None:
    queue = RunQueue.at(setup.redis_url, timing=setup.timing)
    runs = RunStore(ArtifactStore(setup.settings.home))
    reconciler = Reconciler(queue, runs, max_attempts=setup.settings.run_attempts)
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
