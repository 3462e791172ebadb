"""The work horse: a fresh interpreter for each run, since torch does not survive a fork."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
from dataclasses import dataclass
from typing import Any

from rq import Queue
from rq.executions import Execution
from rq.job import Job

from service.hosting.processes.process_setup import die_with_parent, keep_freed_memory
from service.logs import configure_logs
from service.queueing.connections import connect
from service.queueing.queue import RUN_JOB, SERIALIZER
from service.queueing.work_sharing import HELP_JOB
from workers.running.pool.setup import WorkSetup

_BOOT = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); pickle.load(sys.stdin.buffer)()"


class RunJob(Job):  # type: ignore[misc]
    """A job as a work horse finds it. Whatever name stands in Redis, nothing but runs and help with them is performed."""

    setup: WorkSetup | None = None

    def _execute(self) -> None:
        if self.func_name not in (RUN_JOB, HELP_JOB):
            raise ValueError(f"expected a job {RUN_JOB} or {HELP_JOB}, got {self.func_name[:80]!r}")
        self.func(*self.args, setup=self.setup)


@dataclass(frozen=True, kw_only=True)
class HorseOrder:
    """What a work horse does when it is called in its own process. worker: the class of the worker that sends it."""

    setup: WorkSetup
    worker: type[Any]
    worker_key: str
    job_id: str
    execution_id: str
    parent_pid: int

    def __call__(self) -> None:
        die_with_parent(self.parent_pid)
        keep_freed_memory()
        configure_logs(self.setup.settings.log)
        logging.getLogger("rq.worker").setLevel(logging.WARNING)  # it says what we have said already
        connection = connect(self.setup.redis_url)
        worker = self.worker.find_by_key(
            self.worker_key, connection=connection, job_class=RunJob, serializer=SERIALIZER
        )
        if worker is None:
            sys.exit("the worker is not known to Redis any more")
        job = RunJob.fetch(self.job_id, connection=connection, serializer=SERIALIZER)
        job.setup = self.setup
        execution = Execution.fetch(self.execution_id, self.job_id, connection=connection)
        execution._job = job
        worker.execution = execution
        worker.main_work_horse(job, Queue(job.origin, connection=connection, job_class=RunJob, serializer=SERIALIZER))


def start_horse(order: HorseOrder) -> int:
    """Start a work horse in a process group of its own; returns its process id.

    Its order goes through a pipe, because command lines can be read by everyone on the machine.
    """
    reader, writer = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", _BOOT, order.job_id],
            os.environ,
            setpgroup=0,
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(sys.path) + pickle.dumps(order))
    return pid
