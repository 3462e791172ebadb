"""RQ worker that notices failures within seconds and settles the state of its run after each attempt.

RQ provides the queue and the processes of work horses. The store decides whether a run is continued after a failure, see
:mod:`service.queueing.reconciler`, so RQ's own retries are not used.
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

from service.errors import AtlasError, Unavailable
from service.hosting.processes.process_setup import ignore_interrupts
from service.queueing.connections import connect
from service.queueing.executions import Executions
from service.queueing.queue import QUEUE, SERIALIZER, RunQueue, waited_s
from service.queueing.reconciler import record_death
from service.queueing.tallies import TallyBuffer
from service.queueing.work_sharing import HELP_JOB, HELP_QUEUE
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from workers.running.attempt.helper import decline_help
from workers.running.pool.horse_monitor import HorseMonitor
from workers.running.pool.work_horse import HorseArguments, RunJob, start_horse
from workers.running.setup import WorkSetup

_log = structlog.get_logger(__name__)

_RQ_OPTIONS = {"job_monitoring_interval": 5, "maintenance_interval": 5, "worker_ttl": 25, "log_job_description": False}
"""Seconds. With RQ's defaults (30, 600, 420) a dead worker is noticed after minutes."""


class RunWorker(SpawnWorker):  # type: ignore[misc]
    """One worker: takes one run at a time from the queue and starts a work horse for it.

    RQ creates another instance in the work horse, from the worker's record in Redis; that instance has no ``setup``.
    """

    max_connection_wait_time = 2.0

    def __init__(self, queues: Any, name: str | None = None, *, setup: WorkSetup | None = None, **options: Any) -> None:
        super().__init__(queues, name, **{**_RQ_OPTIONS, **options})
        self._setup = setup
        self._wait_status: int | None = None

    @classmethod
    def of(cls, setup: WorkSetup) -> RunWorker:
        """A worker that is ready to ``work``; RedisError if Redis is unreachable."""
        connection = connect(setup.redis_url)
        # In this order, so that a worker helps only while no run waits.
        names = (QUEUE, HELP_QUEUE)
        return cls(
            [Queue(queue, connection=connection, job_class=RunJob, serializer=SERIALIZER) for queue in names],
            f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}",
            setup=setup,
            connection=connection,
            job_class=RunJob,
            serializer=SERIALIZER,
        )

    def execute_job(self, job: RunJob, queue: Queue) -> None:
        """Run one attempt in a work horse and settle the state of its run; or run a helper."""
        if job.func_name == HELP_JOB:
            self._help(job, queue)
            return
        run_id, attempt = job.args
        setup = self._required_setup()
        run_queue = RunQueue.at(setup.redis_url, timing=setup.timing)
        runs = RunStore(ArtifactStore(setup.settings.home))
        executions = Executions.at(setup.redis_url)
        monitor = self._monitor(run_id, attempt, queue=run_queue, runs=runs)
        self._wait_status = None
        _tally_wait(job, queue=run_queue)
        with contextlib.suppress(Unavailable):
            executions.record(run_id, attempt, pid=os.getpid())
        with contextlib.suppress(RedisError), monitor:
            super().execute_job(job, queue)
        death_reason = None if self._wait_status == 0 else monitor.kill_reason or _describe_end(self._wait_status)
        try:
            self._settle(run_id, attempt, queue=run_queue, runs=runs, death_reason=death_reason)
        except AtlasError as error:
            _log.warning(
                "run could not be settled, left to the reconciler",
                run_id=run_id,
                attempt=attempt,
                reason=error.detail,
            )
        with contextlib.suppress(Unavailable):
            executions.remove(run_id, attempt)

    def _help(self, job: RunJob, queue: Queue) -> None:
        [run_id] = job.args
        setup = self._required_setup()
        run_queue = RunQueue.at(setup.redis_url, timing=setup.timing)
        monitor = self._monitor(run_id, None, queue=run_queue, runs=RunStore(ArtifactStore(setup.settings.home)))
        self._wait_status = None
        with contextlib.suppress(RedisError), monitor:
            super().execute_job(job, queue)
        if self._wait_status != 0 and monitor.kill_reason is None:
            _log.warning("helper died", run_id=run_id, reason=_describe_end(self._wait_status))
            decline_help(run_id, setup=setup)

    def _monitor(self, run_id: str, attempt: int | None, *, queue: RunQueue, runs: RunStore) -> HorseMonitor:
        return HorseMonitor(
            run_id,
            attempt,
            queue=queue,
            runs=runs,
            shutdown_grace_s=self._required_setup().settings.worker_grace_s,
            horse_pid=lambda: self.horse_pid,
            is_stopping=lambda: self._stop_requested,
        )

    def _settle(self, run_id: str, attempt: int, *, queue: RunQueue, runs: RunStore, death_reason: str | None) -> None:
        _, state = runs.get(run_id)
        # A work horse that exited without error may have found that another had claimed this attempt.
        if death_reason is not None and state.status == "running" and state.attempts == attempt:
            record_death(
                queue,
                runs,
                run_id,
                attempt=attempt,
                reason=death_reason,
                max_attempts=self._required_setup().settings.run_attempts,
            )
        elif state.status == "queued" and state.attempts >= attempt:
            queue.enqueue(run_id, state.attempts + 1)

    def fork_work_horse(self, job: RunJob, queue: Queue) -> None:
        """Start the work horse. RQ's own method would show the URL and password of Redis on its command line."""
        execution = self.execution
        assert execution is not None
        self._horse_pid = start_horse(
            HorseArguments(
                setup=self._required_setup(),
                worker=f"{type(self).__module__}:{type(self).__qualname__}",
                worker_key=self.key,
                job_id=job.id,
                execution_id=execution.id,
                parent_pid=os.getpid(),
            )
        )

    def wait_for_horse(self) -> Any:
        """Wait as RQ does, and keep the wait status."""
        ended = super().wait_for_horse()
        self._wait_status = ended[1]
        return ended

    def get_heartbeat_ttl(self, job: RunJob, working_time: float = 0.0) -> int:
        """Three intervals instead of RQ's one interval and a minute, so that the job of a dead worker is noticed early."""
        return int(self.job_monitoring_interval * 3)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat; register again with a Redis that has lost its data."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with contextlib.suppress(RedisError):
            super().heartbeat(timeout)
            if not self.connection.sismember(WORKERS_BY_QUEUE_KEY % QUEUE, self.key):
                self._register()

    def maintain_heartbeats(self, job: RunJob, execution: Any) -> None:
        """As RQ does; the run continues while Redis is unreachable."""
        with contextlib.suppress(RedisError):
            super().maintain_heartbeats(job, execution)

    def set_shutdown_requested_date(self) -> None:
        """As RQ does; errors are ignored because the date is only informative."""
        with contextlib.suppress(RedisError):
            super().set_shutdown_requested_date()

    def subscribe(self) -> None:
        """Accept no commands through Redis: cancel requests are read from the store."""

    def _register(self) -> None:
        with self.connection.pipeline() as pipeline:
            pipeline.hset(self.key, mapping=self.serialize())
            register(self, pipeline)
            pipeline.execute()

    def _install_signal_handlers(self) -> None:
        ignore_interrupts()
        signal.signal(signal.SIGTERM, self.request_stop)

    def _required_setup(self) -> WorkSetup:
        if self._setup is None:
            raise ValueError("expected a worker with setup, got one that RQ created without")
        return self._setup


def _tally_wait(job: RunJob, *, queue: RunQueue) -> None:
    buffer = TallyBuffer()
    buffer.observe("run_queue_seconds", waited_s(job))
    with contextlib.suppress(Unavailable):
        queue.tallies.write(buffer)


def _describe_end(wait_status: int | None) -> str:
    """Why a work horse ended, from the wait status of its process."""
    if wait_status is None:
        return "its process ended with unknown status"
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        cause = ", possibly because memory ran out" if number == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(number).name}{cause}"
    return f"its process ended with status {os.waitstatus_to_exitcode(wait_status)}"
