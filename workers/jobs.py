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
from workers.running.attempt.execution import execute_attempt
from workers.running.attempt.helper import help_with_run
from workers.running.attempt.run_span import attempt_span
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignals

_log = structlog.get_logger(__name__)

KINDS: Mapping[str, str] = {kind: handler.perform for kind, handler in RUN_HANDLERS.items()}
"""Dotted name of the function that performs a run, by kind. It is imported when a run of that kind starts."""

HELPERS: Mapping[str, str] = {kind: handler.help for kind, handler in RUN_HANDLERS.items() if handler.help is not None}
"""Dotted name of the function that helps another worker with a run, for the kinds that workers can share."""


def run(run_id: str, attempt: int, *, setup: WorkSetup | None = None) -> None:
    """Execute one attempt at a run, if the run still waits for it.

    Args:
        run_id: of the run.
        attempt: number of the attempt for which the run was queued.
        setup: read from the environment by default.
    """
    setup = setup or _setup()
    stop_signals = StopSignals()
    stop_signals.listen()
    artifacts = ArtifactStore(setup.settings.home)
    runs = RunStore(artifacts)
    writer = _claim(runs, run_id, attempt)
    if writer is not None:
        with attempt_span(writer, environ=os.environ) as span:
            execute_attempt(writer, setup=setup, stop_signals=stop_signals, runs=runs, artifacts=artifacts, span=span)


def help_run(run_id: str, *, setup: WorkSetup | None = None) -> None:
    """Help another worker with a run, until the run has ended or another run waits for a worker.

    Args:
        run_id: of the run.
        setup: read from the environment by default.
    """
    setup = setup or _setup()
    stop_signals = StopSignals()
    stop_signals.listen()
    artifacts = ArtifactStore(setup.settings.home)
    help_with_run(run_id, setup=setup, stop_signals=stop_signals, runs=RunStore(artifacts), artifacts=artifacts)


def _setup() -> WorkSetup:
    return WorkSetup(settings=Settings.from_environ(os.environ), kinds=KINDS, helpers=HELPERS)


def _claim(runs: RunStore, run_id: str, attempt: int) -> RunWriter | None:
    _, state = runs.get(run_id)
    if state.status != "queued" or state.attempts + 1 != attempt:
        _log.info("queued attempt is out of date", run_id=run_id, attempt=attempt, status=state.status)
        return None
    try:
        return runs.claim(run_id, worker=f"{socket.gethostname()}:{os.getpid()}")
    except Conflict as error:
        _log.info("run not started", run_id=run_id, attempt=attempt, reason=error.detail)
        return None
