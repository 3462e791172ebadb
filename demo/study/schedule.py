"""The time that is left: predictions of the cost model, corrected by the runs that have ended and by the current one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from promptatlas import Run
from rich.console import Console

from demo.study.record import Record
from demo.tour.progress import seconds_of

EVERY_S: Final = 30.0
"""Between two lines of progress."""

POLL_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the schedule. predicted_s: by the cost model."""

    name: str
    predicted_s: float


def correction(record: Record) -> float:
    """Measured over predicted seconds of all runs that have ended; 1 before the first one."""
    known = [done for done in record.runs.values() if done.predicted_s]
    predicted = sum(done.predicted_s or 0.0 for done in known)
    return sum(done.seconds for done in known) / predicted if predicted else 1.0


def left_s(current: Step, *, run: Run, rest: Sequence[Step], record: Record) -> tuple[float, float]:
    """Seconds left of the current run and of the study. The run's own estimate replaces the prediction once it has one."""
    factor = correction(record)
    own = run.progress.eta_s
    if own is None:
        own = max(0.0, factor * current.predicted_s - seconds_so_far(run))
    return own, own + factor * sum(step.predicted_s for step in rest)


def seconds_so_far(run: Run) -> float:
    """Seconds since the run started; 0 before."""
    started = run.info.started_at
    return max(0.0, time.time() - started.timestamp()) if started is not None else 0.0


def clock(seconds: float) -> str:
    """``1 h 05 min``, ``12 min`` or ``40 s``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def follow(
    run: Run,
    *,
    current: Step,
    rest: Sequence[Step],
    record: Record,
    console: Console,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> float:
    """Wait until a run has succeeded, with a line of progress at intervals; returns its duration in seconds.

    Of a run that was interrupted, the duration is that of this session: between its start and its end it may have waited for
    a later session for days.

    Raises:
        RunFailedError, RunCancelledError: the run has failed or was cancelled.
    """
    began_s = shown_s = now()
    while not run.refresh().ended:
        if now() - shown_s >= EVERY_S:
            shown_s = now()
            console.print(_line(run, current=current, rest=rest, record=record), highlight=False)
        sleep(POLL_S)
    run.wait(progress=False)
    return seconds_of(run) if run.info.attempts <= 1 else min(seconds_of(run), now() - began_s)


def _line(run: Run, *, current: Step, rest: Sequence[Step], record: Record) -> str:
    of = f" of {run.progress.total}" if run.progress.total else ""
    if run.progress.eta_s is None and not current.predicted_s:
        return f"  {current.name}: step {run.progress.step}{of}"
    own, total = left_s(current, run=run, rest=rest, record=record)
    return f"  {current.name}: step {run.progress.step}{of}, {clock(own)} left; study: {clock(total)} left"
