"""What a worker calls for each run, and the kinds of work that there are."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

from service.errors import Conflict
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter
from workers.running.attempt.helper import help_along
from workers.running.attempt.perform import perform
from workers.running.pool.setup import WorkSetup
from workers.running.pool.stop_signals import StopSignals

_log = structlog.get_logger(__name__)

KINDS: Mapping[str, str] = {
    "tune": "workers.tuning.run:tune",
    "evaluate": "workers.evaluation.run:evaluate",
    "sample": "workers.priors.run:sample",
    "harvest": "workers.harvest.run:harvest",
    "map": "workers.maps.run:make_map",
    "report": "workers.reports.run:report",
}
"""By kind of run, the dotted name of its work, which is imported only when such a run comes."""

HELPERS: Mapping[str, str] = {"harvest": "workers.harvest.helper:help_harvest"}
"""The same of how other workers help with it, for those kinds that can be shared."""


def run(run_id: str, attempt: int, *, setup: WorkSetup | None = None) -> None:
    """Make one attempt at a run, if it still waits for this attempt.

    Args:
        run_id: of the run.
        attempt: number of the attempt for which it stood in line.
        setup: by default, what the environment says.
    """
    setup = setup or _setup()
    orders = StopSignals()
    orders.listen()
    artifacts = ArtifactStore(setup.settings.home)
    runs = RunStore(artifacts)
    writer = _claim(runs, run_id, attempt)
    if writer is not None:
        perform(writer, setup=setup, orders=orders, runs=runs, artifacts=artifacts)


def help_run(run_id: str, *, setup: WorkSetup | None = None) -> None:
    """Help another worker with a run, as long as it goes on and this worker is not needed elsewhere.

    Args:
        run_id: of the run.
        setup: by default, what the environment says.
    """
    setup = setup or _setup()
    orders = StopSignals()
    orders.listen()
    artifacts = ArtifactStore(setup.settings.home)
    help_along(run_id, setup=setup, orders=orders, runs=RunStore(artifacts), artifacts=artifacts)


def _setup() -> WorkSetup:
    return WorkSetup(settings=Settings.from_environ(os.environ), kinds=KINDS, helpers=HELPERS)


def _claim(runs: RunStore, run_id: str, attempt: int) -> RunWriter | None:
    _, state = runs.get(run_id)
    if state.status != "queued" or state.attempts + 1 != attempt:
        _log.info("place in line was out of date", run_id=run_id, attempt=attempt, status=state.status)
        return None
    try:
        return runs.claim(run_id, worker=f"{socket.gethostname()}:{os.getpid()}")
    except Conflict as error:
        _log.info("run not begun", run_id=run_id, attempt=attempt, reason=error.detail)
        return None
