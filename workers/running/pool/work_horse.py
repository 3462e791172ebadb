"""Work horse: a new interpreter for each run, since torch does not survive a fork."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rq import Queue
from rq.executions import Execution
from rq.job import Job
from rq.utils import import_attribute

from service.hosting.processes.process_setup import die_with_parent, keep_freed_memory
from service.hosting.processes.threads import (
    RUN_SPINS,
    ThreadPlan,
    available_cores,
    lower_priority,
    thread_environ,
)
from service.hosting.processes.waits import RunBeats, beating
from service.logs import configure_logs
from service.queueing.connections import connect
from service.queueing.queue import RUN_JOB, SERIALIZER
from service.queueing.work_sharing import HELP_JOB
from workers.running.setup import WorkSetup

_BOOT = (
    "import json, sys; sys.path[:], arguments = json.load(sys.stdin); "
    "from workers.running.pool.work_horse import HorseArguments, run_horse; "
    "run_horse(HorseArguments.from_json(arguments))"
)

_PARENT = __name__.partition("workers.")[0]
"""Package of ``workers`` with a dot: empty in the repository. Names of jobs in Redis are without it in every installation."""


class RunJob(Job):  # type: ignore[misc]
    """A job as a work horse executes it. Only runs and help with runs are executed, whatever function Redis names."""

    setup: WorkSetup | None = None

    def _execute(self) -> None:
        if self.func_name not in (RUN_JOB, HELP_JOB):
            raise ValueError(f"expected a job {RUN_JOB} or {HELP_JOB}, got {self.func_name[:80]!r}")
        import_attribute(f"{_PARENT}{self.func_name}")(*self.args, setup=self.setup)


@dataclass(frozen=True, kw_only=True)
class HorseArguments:
    """Arguments of a work horse. worker: dotted name ``module:class`` of the worker that starts it."""

    setup: WorkSetup
    worker: str
    worker_key: str
    job_id: str
    execution_id: str
    parent_pid: int

    def to_json(self) -> dict[str, Any]:
        """The arguments as values that JSON can hold."""
        return {**vars(self), "setup": self.setup.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HorseArguments:
        """The arguments that :meth:`to_json` was called on."""
        return cls(**{**data, "setup": WorkSetup.from_json(data["setup"])})


def run_horse(arguments: HorseArguments) -> None:
    """Execute one job; the body of the work horse's process."""
    die_with_parent(arguments.parent_pid)
    lower_priority(ThreadPlan.of(arguments.setup.settings, n_cores=available_cores()).worker_nice)
    keep_freed_memory()
    configure_logs(arguments.setup.settings.log)
    logging.getLogger("rq.worker").setLevel(logging.WARNING)  # its messages repeat our own
    connection = connect(arguments.setup.redis_url)
    module, _, name = arguments.worker.partition(":")
    worker_class = getattr(importlib.import_module(module), name)
    worker = worker_class.find_by_key(
        arguments.worker_key, connection=connection, job_class=RunJob, serializer=SERIALIZER
    )
    if worker is None:
        sys.exit("Redis has no record of the worker any more")
    job = RunJob.fetch(arguments.job_id, connection=connection, serializer=SERIALIZER)
    job.setup = arguments.setup
    execution = Execution.fetch(arguments.execution_id, arguments.job_id, connection=connection)
    execution._job = job
    worker.execution = execution
    with beating(RunBeats()):
        worker.main_work_horse(job, Queue(job.origin, connection=connection, job_class=RunJob, serializer=SERIALIZER))


def start_horse(arguments: HorseArguments) -> int:
    """Start a work horse in a session of its own; returns its process id.

    The arguments are JSON on its standard input, because every user of the machine can read command lines.
    """
    settings = arguments.setup.settings
    n_threads = ThreadPlan.of(settings, n_cores=available_cores()).worker
    environ = thread_environ(
        os.environ, n_threads=n_threads, n_spins=RUN_SPINS, is_set=settings.worker_threads is not None
    )
    reader, writer = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", _BOOT, arguments.job_id],
            environ,
            setsid=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "w") as pipe:
        json.dump([sys.path, arguments.to_json()], pipe)
    return pid
