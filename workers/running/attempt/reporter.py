"""Reporter of a run: buffers events without waiting for the store and writes them once a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from promptatlas.types.runs import EventType

from service.errors import InvalidRequest, Unavailable
from service.store.runs.writer import RunWriter, StaleAttempt
from workers.running.attempt.eta import EtaEstimator

_log = structlog.get_logger(__name__)

ReportedPoints = Mapping[tuple[int, str | None], frozenset[str]]
"""By step and member, the names of the values that an earlier attempt has reported."""


class Reporter:
    """Buffers the events of a run for its writer, so that the work never waits. Safe for use from two threads.

    Args:
        writer: of this attempt.
        load_reported: returns the points of earlier attempts; called once, with the first point.
        clock: monotonic seconds.

    Attributes:
        fenced: whether another attempt has replaced this one.
    """

    def __init__(
        self, writer: RunWriter, *, load_reported: Callable[[], ReportedPoints], clock: Callable[[], float]
    ) -> None:
        self.fenced = False
        self._writer = writer
        self._load_reported = load_reported
        self._reported: ReportedPoints | None = None
        self._clock = clock
        self._eta = EtaEstimator()
        self._lock = threading.Lock()
        self._events: list[tuple[EventType, dict[str, Any]]] = []
        self._progress: tuple[int, int] | None = None
        self._prompts: list[str] = []
        self._is_unavailable = False

    def progress(self, step: int, total: int) -> None:
        """Report progress."""
        with self._lock:
            self._eta.note(step, now_s=self._clock())
            self._progress = (step, total)

    def metric(self, step: int, *, member: str | None, values: Mapping[str, float]) -> None:
        """Report a point; values that an earlier attempt has reported are dropped."""
        if self._reported is None:
            self._reported = self._load_reported()
        known = self._reported.get((step, member), frozenset())
        new = {name: float(value) for name, value in values.items() if name not in known}
        if new:
            self.event("metric", {"step": step, **({} if member is None else {"member": member}), **new})

    def prompt(self, ref: str) -> None:
        """Report a prompt version that the run has created."""
        with self._lock:
            self._prompts.append(ref)

    def event(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Report any other event."""
        with self._lock:
            self._events.append((kind, dict(data)))

    def flush(self) -> None:
        """Write the buffered events to the store. If the store is unavailable, they are kept for the next flush."""
        self.pass_to_writer()
        try:
            self._writer.flush()
            self._is_unavailable = False
        except StaleAttempt:
            self.fenced = True
        except Unavailable as error:
            if not self._is_unavailable:
                _log.warning("events cannot be stored at the moment", reason=error.detail)
            self._is_unavailable = True

    def pass_to_writer(self) -> None:
        """Pass the buffered events to the writer."""
        with self._lock:
            events, self._events = self._events, []
            prompts, self._prompts = self._prompts, []
            progress, self._progress = self._progress, None
            eta_s = None if progress is None else self._eta.remaining_s(progress[1])
        for kind, data in events:
            self._emit(kind, data)
        for ref in prompts:
            self._writer.add_prompt(ref)
        if progress is not None:
            self._writer.set_progress(progress[0], total=progress[1], eta_s=eta_s)

    def _emit(self, kind: EventType, data: Mapping[str, Any]) -> None:
        try:
            self._writer.emit(kind, data)
        except InvalidRequest as error:
            _log.warning("event dropped", kind=kind, reason=error.detail)


def reported_points(points: list[dict[str, Any]]) -> ReportedPoints:
    """The reported points of a curve, in the form that the store returns."""
    return {(point["step"], point.get("member")): frozenset(point) - {"step", "member"} for point in points}
