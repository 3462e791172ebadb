"""One attempt from its claim to its end: whatever happens in between, the run's owner is told."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import structlog

from service.errors import AtlasError, Unavailable
from service.queueing.queue import RunQueue
from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import EndStatus
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter, StaleAttempt
from workers.running.attempt.reporter import Reporter, Told, told_by
from workers.running.attempt.stored_run import StoredRun
from workers.running.interface import RunStopped, Work
from workers.running.periodic import PeriodicThread
from workers.running.pool.setup import WorkSetup
from workers.running.pool.stop_signals import StopSignal, StopSignals
from workers.running.store_retries import persistently

_log = structlog.get_logger(__name__)

_RELEASED = "The worker shuts down; the run goes on from its last checkpoint on another."


@dataclass(frozen=True, kw_only=True)
class _End:
    status: EndStatus
    metrics: Mapping[str, float] | None = None
    error: str | None = None


def perform(
    writer: RunWriter, *, setup: WorkSetup, orders: StopSignals, runs: RunStore, artifacts: ArtifactStore
) -> None:
    """Work on a claimed run until it has ended or must stop here.

    Raises:
        Unavailable: the end cannot be stored; the reason of a failure was left in Redis.
    """
    reporter = Reporter(writer, told=lambda: _told(runs, writer), clock=time.monotonic)
    run = StoredRun(
        writer, reporter=reporter, orders=orders, settings=setup.settings, artifacts=artifacts, timing=setup.timing
    )
    _log.info("run begun", run_id=run.run_id, kind=writer.record.kind, attempt=run.attempt)
    with PeriodicThread(reporter.flush, interval_s=setup.timing.flush_s, name="flush events"):
        end = _work(run, kind=writer.record.kind, kinds=setup.kinds, orders=orders, reporter=reporter)
    reporter.hand_on()
    try:
        persistently(lambda: _conclude(writer, end), waits_s=setup.timing.retries_s)
    except StaleAttempt as error:
        _log.warning("attempt given up", run_id=run.run_id, attempt=run.attempt, reason=error.detail)
        return
    except Unavailable:
        if end is not None and end.error is not None:
            RunQueue.at(setup.redis_url, timing=setup.timing).leave_words(run.run_id, run.attempt, end.error)
        raise
    _log.info("run left", run_id=run.run_id, attempt=run.attempt, status="queued" if end is None else end.status)


def _told(runs: RunStore, writer: RunWriter) -> Told:
    return told_by(runs.metrics(writer.record.id)) if writer.attempt > 1 else {}


def _conclude(writer: RunWriter, end: _End | None) -> None:
    if end is None:
        writer.release(_RELEASED)
    else:
        writer.finish(end.status, metrics=end.metrics, error=end.error)


def _work(
    run: StoredRun, *, kind: str, kinds: Mapping[str, str], orders: StopSignals, reporter: Reporter
) -> _End | None:
    """How it ended; None when it is to go on elsewhere."""
    try:
        metrics = _find(kinds, kind)(run)
    except (RunStopped, StaleAttempt):
        if orders.given is StopSignal.CANCEL:
            return _End(status="cancelled")
        if orders.given is StopSignal.SHUTDOWN or reporter.fenced:
            return None
        return _failed(run, "The work stopped by itself without being told to.")
    except AtlasError as error:
        return _failed(run, error.detail)
    except MemoryError:
        return _failed(run, "Not enough memory.")
    except (Exception, SystemExit) as error:
        return _failed(run, _described(error))
    return _End(status="succeeded", metrics=metrics)


def _find(kinds: Mapping[str, str], kind: str) -> Work:
    if kind not in kinds:
        raise RuntimeError(f"this worker knows no runs of kind {kind!r}")
    module, _, function = kinds[kind].partition(":")
    return cast(Work, getattr(importlib.import_module(module), function))


def _failed(run: StoredRun, reason: str) -> _End:
    # Called while the exception is handled, so that the log has its trace; the run's owner gets the sentence.
    _log.error("run failed", run_id=run.run_id, attempt=run.attempt, reason=reason, exc_info=True)
    return _End(status="failed", error=reason)


def _described(error: BaseException) -> str:
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which may not even be loaded here
        return "The accelerator has not enough memory for this run; a smaller batch needs less."
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"The work failed unexpectedly: {type(error).__name__}{f': {first_line}' if first_line else ''}"
