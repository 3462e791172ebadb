from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from service.errors import InvalidRequest, Unavailable
from service.store.runs.writer import RunWriter, StaleAttempt
from workers.running.attempt.reporter import ReportedPoints, Reporter, reported_points


class RecordingWriter:
    """Records its calls; ``flush`` raises ``error`` if it is set."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.error: Exception | None = None

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        if data.get("text") == "too long":
            raise InvalidRequest("too long")
        self.calls.append((kind, dict(data)))

    def set_progress(self, step: int, *, total: int, eta_s: float | None) -> None:
        self.calls.append((step, total, eta_s))

    def add_prompt(self, ref: str) -> None:
        self.calls.append(ref)

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append("flush")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def opened(*, reported: ReportedPoints | None = None) -> tuple[Reporter, RecordingWriter, Clock]:
    writer, clock = RecordingWriter(), Clock()
    return Reporter(cast(RunWriter, writer), load_reported=lambda: reported or {}, clock=clock), writer, clock


def test_events_reach_the_writer_once_with_the_flush() -> None:
    reporter, writer, clock = opened()
    reporter.event("log", {"level": "info", "text": "hello"})
    for step in range(1, 4):
        clock.now_s += 1.0
        reporter.progress(step, 10)
        reporter.metric(step, member=None, values={"loss": 1.0 / step})
    reporter.prompt("qa@1")
    assert writer.calls == []
    reporter.flush()
    losses = [("metric", {"step": step, "loss": 1.0 / step}) for step in range(1, 4)]
    assert writer.calls == [("log", {"level": "info", "text": "hello"}), *losses, "qa@1", (3, 10, 7.0), "flush"]
    writer.calls.clear()
    reporter.flush()
    assert writer.calls == ["flush"]


def test_values_that_an_earlier_attempt_reported_are_dropped() -> None:
    reported = reported_points([{"step": 1, "member": "a", "loss": 0.5}, {"step": 2, "loss": 0.4}])
    reporter, writer, _ = opened(reported=reported)
    reporter.metric(1, member="a", values={"loss": 0.5})
    reporter.metric(1, member="b", values={"loss": 0.6})
    reporter.metric(1, member="a", values={"loss": 0.5, "validation": 0.7})
    reporter.metric(2, member=None, values={"loss": 0.4})
    reporter.pass_to_writer()
    assert writer.calls == [
        ("metric", {"step": 1, "member": "b", "loss": 0.6}),
        ("metric", {"step": 1, "member": "a", "validation": 0.7}),
    ]


def test_an_unavailable_store_is_tolerated_and_fencing_is_recorded() -> None:
    reporter, writer, _ = opened()
    writer.error = Unavailable("gone")
    reporter.flush()
    assert not reporter.fenced
    writer.error = StaleAttempt("replaced")
    reporter.flush()
    assert reporter.fenced


def test_an_event_that_is_too_large_is_dropped_alone() -> None:
    reporter, writer, _ = opened()
    reporter.event("log", {"level": "info", "text": "too long"})
    reporter.event("log", {"level": "info", "text": "short"})
    reporter.pass_to_writer()
    assert writer.calls == [("log", {"level": "info", "text": "short"})]
