"""Jobs of the RQ queue: perform a run, or help another worker with one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

from service.errors import Conflict
from service.planning.run_kinds import RUN_HANDLERS
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter
from workers.running.attempt.helper import help_along
from workers.running.attempt.perform import perform
from workers.running.pool.setup import WorkSetup
from workers.running.pool.stop_signals import StopSignals

_log = structlog.get_logger(__name__)

KINDS: Mapping[str, str] = {kind: handler.perform for kind, handler in RUN_HANDLERS.items()}
"""Dotted name of the function that performs a run, by kind. It is imported when a run of that kind starts."""

HELPERS: Mapping[str, str] = {kind: handler.help for kind, handler in RUN_HANDLERS.items() if handler.help is not None}
"""Dotted name of the function that helps another worker with a run, for the kinds that workers can share."""


def run(run_id: str, attempt: int, *, setup: WorkSetup | None = None) -> None:
    """Make one attempt at a run. Does nothing if the run no longer waits for this attempt.

    Args:
        attempt: number of the attempt that was enqueued.
        setup: default: from the environment.
    """
    setup = setup or _setup()
    signals = StopSignals()
    signals.listen()
    artifacts = ArtifactStore(setup.settings.home)
    runs = RunStore(artifacts)
    writer = _claim(runs, run_id, attempt)
    if writer is not None:
        perform(writer, setup=setup, orders=signals, runs=runs, artifacts=artifacts)


def help_run(run_id: str, *, setup: WorkSetup | None = None) -> None:
    """Help another worker with a run until it ends or this worker is needed elsewhere.

    Args:
        setup: default: from the environment.
    """
    setup = setup or _setup()
    signals = StopSignals()
    signals.listen()
    artifacts = ArtifactStore(setup.settings.home)
    help_along(run_id, setup=setup, orders=signals, runs=RunStore(artifacts), artifacts=artifacts)


def _setup() -> WorkSetup:
    return WorkSetup(settings=Settings.from_environ(os.environ), kinds=KINDS, helpers=HELPERS)


def _claim(runs: RunStore, run_id: str, attempt: int) -> RunWriter | None:
    _, state = runs.get(run_id)
    if state.status != "queued" or state.attempts + 1 != attempt:
        _log.info("queue entry is out of date", run_id=run_id, attempt=attempt, status=state.status)
        return None
    try:
        return runs.claim(run_id, worker=f"{socket.gethostname()}:{os.getpid()}")
    except Conflict as error:
        _log.info("run not claimed", run_id=run_id, attempt=attempt, reason=error.detail)
        return None
