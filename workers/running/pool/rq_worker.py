"""An RQ worker that recovers within seconds and is sure about what becomes of its run.

RQ keeps the line and the work horses' processes. That a run goes on after a death is decided by the store, through
``service.queueing.reconciler``, so RQ's own retries are not used.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Any

import structlog
from redis.exceptions import RedisError
from rq import Queue
from rq.worker import SpawnWorker
from rq.worker_registration import WORKERS_BY_QUEUE_KEY, register

from service.errors import AtlasError
from service.hosting.processes.process_setup import ignore_interrupts
from service.queueing.connections import connect
from service.queueing.queue import QUEUE, SERIALIZER, RunQueue
from service.queueing.reconciler import bury
from service.queueing.work_sharing import HELP_JOB, HELP_QUEUE
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from workers.running.attempt.helper import decline_help
from workers.running.pool.horse_monitor import HorseMonitor
from workers.running.pool.setup import WorkSetup
from workers.running.pool.work_horse import HorseOrder, RunJob, start_horse

_log = structlog.get_logger(__name__)

_PACE = {"job_monitoring_interval": 5, "maintenance_interval": 5, "worker_ttl": 25, "log_job_description": False}
"""Seconds. With RQ's own (30, 600, 420) it takes minutes until anybody notices that a worker has died."""


class RunWorker(SpawnWorker):  # type: ignore[misc]
    """One worker: takes runs off the line, one at a time, and sends a work horse for each.

    RQ makes another of this class in the work horse, from what it finds in Redis; that one has no ``setup``.
    """

    max_connection_wait_time = 2.0

    def __init__(self, queues: Any, name: str | None = None, *, setup: WorkSetup | None = None, **options: Any) -> None:
        super().__init__(queues, name, **{**_PACE, **options})
        self._setup = setup
        self._wait_status: int | None = None

    @classmethod
    def of(cls, setup: WorkSetup) -> RunWorker:
        """A worker ready to ``work``; RedisError when Redis cannot be reached."""
        connection = connect(setup.redis_url)
        # In this order: help is given only while no run waits.
        lines = (QUEUE, HELP_QUEUE)
        return cls(
            [Queue(line, connection=connection, job_class=RunJob, serializer=SERIALIZER) for line in lines],
            f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}",
            setup=setup,
            connection=connection,
            job_class=RunJob,
            serializer=SERIALIZER,
        )

    def execute_job(self, job: RunJob, queue: Queue) -> None:
        """Have one attempt made, and see to what becomes of the run; or have help given."""
        if job.func_name == HELP_JOB:
            self._help(job, queue)
            return
        run_id, attempt = job.args
        setup = self._required_setup()
        lines = RunQueue.at(setup.redis_url, timing=setup.timing)
        runs = RunStore(ArtifactStore(setup.settings.home))
        watch = self._watch(run_id, attempt, queue=lines, runs=runs)
        self._wait_status = None
        with contextlib.suppress(RedisError), watch:
            super().execute_job(job, queue)
        died = None if self._wait_status == 0 else watch.killed_for or _fate(self._wait_status)
        try:
            self._settle(run_id, attempt, queue=lines, runs=runs, died=died)
        except AtlasError as error:
            _log.warning("run left to be looked after later", run_id=run_id, attempt=attempt, reason=error.detail)

    def _help(self, job: RunJob, queue: Queue) -> None:
        [run_id] = job.args
        setup = self._required_setup()
        lines = RunQueue.at(setup.redis_url, timing=setup.timing)
        watch = self._watch(run_id, None, queue=lines, runs=RunStore(ArtifactStore(setup.settings.home)))
        self._wait_status = None
        with contextlib.suppress(RedisError), watch:
            super().execute_job(job, queue)
        if self._wait_status != 0 and watch.killed_for is None:
            _log.warning("helper died", run_id=run_id, reason=_fate(self._wait_status))
            decline_help(run_id, setup=setup)

    def _watch(self, run_id: str, attempt: int | None, *, queue: RunQueue, runs: RunStore) -> HorseMonitor:
        return HorseMonitor(
            run_id,
            attempt,
            queue=queue,
            runs=runs,
            shutdown_grace_s=self._required_setup().settings.worker_grace_s,
            horse_pid=lambda: self.horse_pid,
            is_stopping=lambda: self._stop_requested,
        )

    def _settle(self, run_id: str, attempt: int, *, queue: RunQueue, runs: RunStore, died: str | None) -> None:
        _, state = runs.get(run_id)
        # A work horse that left in peace may have found that another had begun this attempt.
        if died is not None and state.status == "running" and state.attempts == attempt:
            bury(
                queue,
                runs,
                run_id,
                attempt=attempt,
                reason=died,
                max_attempts=self._required_setup().settings.run_attempts,
            )
        elif state.status == "queued" and state.attempts >= attempt:
            queue.enqueue(run_id, state.attempts + 1)

    def fork_work_horse(self, job: RunJob, queue: Queue) -> None:
        """Start the work horse. RQ's own way would put the address and password of Redis on its command line."""
        execution = self.execution
        assert execution is not None
        self._horse_pid = start_horse(
            HorseOrder(
                setup=self._required_setup(),
                worker=type(self),
                worker_key=self.key,
                job_id=job.id,
                execution_id=execution.id,
                parent_pid=os.getpid(),
            )
        )

    def wait_for_horse(self) -> Any:
        """Wait as RQ does, and remember how it ended."""
        ended = super().wait_for_horse()
        self._wait_status = ended[1]
        return ended

    def get_heartbeat_ttl(self, job: RunJob, working_time: float = 0.0) -> int:
        """Three intervals instead of one and a minute, so that a dead worker's job is soon known as such."""
        return int(self.job_monitoring_interval * 3)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Show that the worker lives; also to a Redis that has forgotten it."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with contextlib.suppress(RedisError):
            super().heartbeat(timeout)
            if not self.connection.sismember(WORKERS_BY_QUEUE_KEY % QUEUE, self.key):
                self._introduce()

    def maintain_heartbeats(self, job: RunJob, execution: Any) -> None:
        """As RQ does; while Redis is away the run goes on."""
        with contextlib.suppress(RedisError):
            super().maintain_heartbeats(job, execution)

    def set_shutdown_requested_date(self) -> None:
        """As RQ does; nobody depends on it."""
        with contextlib.suppress(RedisError):
            super().set_shutdown_requested_date()

    def subscribe(self) -> None:
        """Take no commands through Redis: cancels come from the store."""

    def _introduce(self) -> None:
        with self.connection.pipeline() as pipeline:
            pipeline.hset(self.key, mapping=self.serialize())
            register(self, pipeline)
            pipeline.execute()

    def _install_signal_handlers(self) -> None:
        ignore_interrupts()
        signal.signal(signal.SIGTERM, self.request_stop)

    def _required_setup(self) -> WorkSetup:
        if self._setup is None:
            raise ValueError("a worker made without setup cannot take runs")
        return self._setup


def _fate(wait_status: int | None) -> str:
    """Why a work horse is gone, from how its process ended."""
    if wait_status is None:
        return "its process ended, nobody knows how"
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        cause = ", perhaps for want of memory" if number == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(number).name}{cause}"
    return f"its process ended with status {os.waitstatus_to_exitcode(wait_status)}"
