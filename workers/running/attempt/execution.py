"""Execution of one attempt, from its claim to its end. Every end is recorded in the store."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import structlog

from service.errors import AtlasError, Unavailable
from service.queueing.queue import RunQueue
from service.queueing.tallies import Outcome, Tallies, ended_of
from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import EndStatus
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter, StaleAttempt
from service.tracing.spans import Span
from workers.running.attempt.reporter import ReportedPoints, Reporter, reported_points
from workers.running.attempt.stored_run import StoredRun
from workers.running.attempt.work_tallies import WorkTallies
from workers.running.interface import RunStopped, Work
from workers.running.periodic import PeriodicThread
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignal, StopSignals
from workers.running.store_retries import with_retries

_log = structlog.get_logger(__name__)

_RELEASED = "The worker shuts down; another one will continue the run from its last checkpoint."


@dataclass(frozen=True, kw_only=True)
class _End:
    status: EndStatus
    metrics: Mapping[str, float] | None = None
    error: str | None = None


def execute_attempt(
    writer: RunWriter,
    *,
    setup: WorkSetup,
    stop_signals: StopSignals,
    runs: RunStore,
    artifacts: ArtifactStore,
    span: Span | None = None,
) -> None:
    """Work on a claimed run until it has ended or must stop in this process. ``span``: of the attempt, if it is traced.

    Raises:
        Unavailable: the end cannot be stored. The reason of a failure is then kept in Redis.
    """
    reporter = Reporter(writer, load_reported=lambda: _load_reported(runs, writer), clock=time.monotonic)
    tallies = WorkTallies(writer.record.kind, open_tallies=lambda: Tallies.at(setup.redis_url))
    run = StoredRun(
        writer,
        reporter=reporter,
        stop_signals=stop_signals,
        settings=setup.settings,
        artifacts=artifacts,
        timing=setup.timing,
        tallies=tallies,
    )
    _log.info("run started", run_id=run.run_id, kind=writer.record.kind, attempt=run.attempt)
    with (
        PeriodicThread(reporter.flush, interval_s=setup.timing.flush_s, name="flush events"),
        PeriodicThread(tallies.flush, interval_s=setup.timing.flush_s, name="flush tallies"),
    ):
        end = _work(
            run, kind=writer.record.kind, kinds=setup.kinds, stop_signals=stop_signals, reporter=reporter, span=span
        )
    tallies.flush()
    reporter.pass_to_writer()
    try:
        with_retries(lambda: _store_end(writer, end), waits_s=setup.timing.retries_s)
    except StaleAttempt as error:
        _log.warning("attempt was replaced by another", run_id=run.run_id, attempt=run.attempt, reason=error.detail)
        _tally_end(run, "replaced", setup=setup, runs=runs, kind=writer.record.kind)
        return
    except Unavailable:
        if end is not None and end.error is not None:
            RunQueue.at(setup.redis_url, timing=setup.timing).store_failure_reason(run.run_id, run.attempt, end.error)
        raise
    if span is not None:
        span.set({"promptatlas.run.outcome": "released" if end is None else end.status})
    _log.info("attempt ended", run_id=run.run_id, attempt=run.attempt, status="queued" if end is None else end.status)
    _tally_end(run, "released" if end is None else end.status, setup=setup, runs=runs, kind=writer.record.kind)


def _tally_end(run: StoredRun, outcome: Outcome, *, setup: WorkSetup, runs: RunStore, kind: str) -> None:
    with suppress(AtlasError):
        ended = None if outcome == "replaced" else ended_of(runs.get(run.run_id)[1])
        tallies = RunQueue.at(setup.redis_url, timing=setup.timing).tallies
        tallies.end_attempt(run.run_id, run.attempt, kind=kind, outcome=outcome, ended=ended)


def _load_reported(runs: RunStore, writer: RunWriter) -> ReportedPoints:
    return reported_points(runs.metrics(writer.record.id)) if writer.attempt > 1 else {}


def _store_end(writer: RunWriter, end: _End | None) -> None:
    if end is None:
        writer.release(_RELEASED)
    else:
        writer.finish(end.status, metrics=end.metrics, error=end.error)


def _work(
    run: StoredRun,
    *,
    kind: str,
    kinds: Mapping[str, str],
    stop_signals: StopSignals,
    reporter: Reporter,
    span: Span | None,
) -> _End | None:
    """The end of the attempt; None if another worker is to continue the run."""
    try:
        metrics = _load_work(kinds, kind)(run)
    except (RunStopped, StaleAttempt):
        if stop_signals.received is StopSignal.CANCEL:
            return _End(status="cancelled")
        if stop_signals.received is StopSignal.SHUTDOWN or reporter.fenced:
            return None
        return _failed(run, "The work stopped without a stop signal.", span=span)
    except AtlasError as error:
        return _failed(run, error.detail, span=span)
    except MemoryError:
        return _failed(run, "Not enough memory.", span=span)
    except (Exception, SystemExit) as error:
        return _failed(run, _describe(error), span=span)
    return _End(status="succeeded", metrics=metrics)


def _load_work(kinds: Mapping[str, str], kind: str) -> Work:
    if kind not in kinds:
        raise RuntimeError(f"this worker has no work for runs of kind {kind!r}")
    module, _, function = kinds[kind].partition(":")
    return cast(Work, getattr(importlib.import_module(module), function))


def _failed(run: StoredRun, reason: str, *, span: Span | None) -> _End:
    # Called while the exception is handled, so that the log has its traceback; the owner of the run sees only the reason.
    _log.error("run failed", run_id=run.run_id, attempt=run.attempt, reason=reason, exc_info=True)
    if span is not None and (error := sys.exception()) is not None:
        span.record(error)
    return _End(status="failed", error=reason)


def _describe(error: BaseException) -> str:
    if type(error).__name__ == "OutOfMemoryError":  # torch's class, compared by name because torch may not be loaded
        return "The accelerator does not have enough memory for this run; a smaller batch needs less."
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"The work failed unexpectedly: {type(error).__name__}{f': {first_line}' if first_line else ''}"
