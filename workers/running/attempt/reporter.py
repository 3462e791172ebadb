"""What a run says while it works: gathered here without waiting for the store, handed on once a second."""

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

Told = Mapping[tuple[int, str | None], frozenset[str]]
"""By step and member, the names of the numbers that an earlier attempt has reported."""


class Reporter:
    """Between a kind of work, which must not wait, and the writer of its run. Safe between two threads.

    Args:
        writer: of this attempt.
        told: points that are known already; asked for once, when the first point comes.
        clock: steady seconds.
    """

    def __init__(self, writer: RunWriter, *, told: Callable[[], Told], clock: Callable[[], float]) -> None:
        self.fenced = False
        self._writer = writer
        self._load_told = told
        self._told: Told | None = None
        self._clock = clock
        self._pace = EtaEstimator()
        self._lock = threading.Lock()
        self._events: list[tuple[EventType, dict[str, Any]]] = []
        self._progress: tuple[int, int] | None = None
        self._prompts: list[str] = []
        self._is_refused = False

    def progress(self, step: int, total: int) -> None:
        """How far it is."""
        with self._lock:
            self._pace.note(step, now_s=self._clock())
            self._progress = (step, total)

    def metric(self, step: int, *, member: str | None, values: Mapping[str, float]) -> None:
        """A point; those of its numbers that are known already are dropped."""
        if self._told is None:
            self._told = self._load_told()
        known = self._told.get((step, member), frozenset())
        fresh = {name: float(value) for name, value in values.items() if name not in known}
        if fresh:
            self.say("metric", {"step": step, **({} if member is None else {"member": member}), **fresh})

    def prompt(self, ref: str) -> None:
        """A prompt version was made."""
        with self._lock:
            self._prompts.append(ref)

    def say(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Any event."""
        with self._lock:
            self._events.append((kind, dict(data)))

    def flush(self) -> None:
        """Hand on and have it stored. What the store refuses for now is kept for the next time."""
        self.hand_on()
        try:
            self._writer.flush()
            self._is_refused = False
        except StaleAttempt:
            self.fenced = True
        except Unavailable as error:
            if not self._is_refused:
                _log.warning("events cannot be stored for now", reason=error.detail)
            self._is_refused = True

    def hand_on(self) -> None:
        """Give everything said so far to the writer."""
        with self._lock:
            events, self._events = self._events, []
            prompts, self._prompts = self._prompts, []
            progress, self._progress = self._progress, None
            eta_s = None if progress is None else self._pace.left_s(progress[1])
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
            _log.warning("event left out", kind=kind, reason=error.detail)


def told_by(points: list[dict[str, Any]]) -> Told:
    """From the points of a curve, as the store gives them."""
    return {(point["step"], point.get("member")): frozenset(point) - {"step", "member"} for point in points}
