"""Time that is left: predictions, corrected by runs that have ended, and the estimate of the current run."""

from __future__ import annotations

import io
from typing import cast

import pytest
from promptatlas import Run
from promptatlas.types import Progress
from rich.console import Console

from demo.study.plan import Size
from demo.study.record import Done, Record
from demo.study.schedule import Step, clock, correction, follow, left_s
from tests.demo.study.fake_runs import START, FakeRun

EMPTY = Record(plan="a", size=Size(steps=1))
SLOWER = EMPTY.with_run("x", Done(run_id="1", seconds=30.0, predicted_s=20.0)).with_run(
    "y", Done(run_id="2", seconds=60.0, predicted_s=40.0)
)
REST = (Step(name="b", predicted_s=10.0), Step(name="c", predicted_s=20.0))


def running(**progress: float) -> FakeRun:
    return FakeRun("1", "tune", "a", {}, 1.0, status="running", progress=Progress.model_validate(progress))


def test_predictions_are_corrected_by_the_runs_that_have_ended() -> None:
    assert correction(EMPTY) == 1.0
    assert correction(SLOWER) == 1.5
    assert correction(SLOWER.with_run("map", Done(run_id="3", seconds=1e6))) == 1.5


def test_the_runs_own_estimate_replaces_the_prediction() -> None:
    current = Step(name="a", predicted_s=100.0)
    run = running(step=1, total=4, eta_s=7.0)
    assert left_s(current, run=cast(Run, run), rest=REST, record=SLOWER) == (7.0, 7.0 + 1.5 * 30)


def test_without_an_estimate_the_prediction_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: START.timestamp() + 40)
    current = Step(name="a", predicted_s=100.0)
    assert left_s(current, run=cast(Run, running()), rest=(), record=SLOWER) == (110.0, 110.0)
    current = Step(name="a", predicted_s=10.0)
    assert left_s(current, run=cast(Run, running()), rest=(), record=SLOWER) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (3600, "1 h 00 min"), (5430, "1 h 30 min")],
)
def test_times_as_text(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("predicted_s", "progress", "line"),
    [
        (1.0, {"step": 1, "total": 4, "eta_s": 50.0}, "  a: step 1 of 4, 50 s left; study: 80 s left\n"),
        (0.0, {"step": 0}, "  a: step 0\n"),
    ],
)
def test_progress_is_printed_at_intervals_and_the_duration_returned(
    predicted_s: float, progress: dict[str, float], line: str
) -> None:
    run, printed, times = running(**progress), io.StringIO(), iter(range(0, 1000, 20))
    run.n_late, run.seconds = 4, 12.0
    seconds = follow(
        cast(Run, run),
        current=Step(name="a", predicted_s=predicted_s),
        rest=REST,
        record=EMPTY,
        console=Console(file=printed, width=200),
        sleep=lambda _: None,
        now=lambda: float(next(times)),
    )
    assert seconds == 12.0
    assert printed.getvalue() == 2 * line


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 5000.0), (2, 60.0)])
def test_the_time_between_sessions_does_not_count(attempts: int, seconds: float) -> None:
    run, times = running(), iter(range(0, 1000, 20))
    run.n_late, run.seconds, run.attempts = 1, 5000.0, attempts
    found = follow(
        cast(Run, run),
        current=Step(name="a", predicted_s=1.0),
        rest=(),
        record=EMPTY,
        console=Console(file=io.StringIO()),
        sleep=lambda _: None,
        now=lambda: float(next(times)),
    )
    assert found == pytest.approx(seconds, abs=20)
