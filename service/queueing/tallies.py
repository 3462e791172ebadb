"""Tallies of the workers of all hosts, kept in Redis: counters and histograms that ``/metrics`` shows.

Workers are many short processes on several hosts, so they add to one hash instead of being scraped. Its size is bounded: labels
are kinds of runs and outcomes. A Redis that is emptied starts again at zero, which Prometheus treats as a restart.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal

from redis import Redis

from service.errors import Unavailable
from service.queueing.connections import connect, redis_errors_as_unavailable
from service.store.artifacts.clock import read_time
from service.store.runs.records import RunState

Outcome = Literal["succeeded", "failed", "cancelled", "released", "died", "replaced"]
"""How an attempt ended; ``released``: its worker shut down, another one continues; ``replaced``: by another attempt."""

_KEY = "promptatlas:tallies"
_KEEP_MARK_S = 7 * 24 * 3600
_SUM, _NO_BOUND = "sum", "+Inf"

_SHORT_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A metric of the workers. bounds: of the buckets of a histogram; None for a counter."""

    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] | None = None


TALLIES: Final[Mapping[str, Tally]] = {
    "runs_ended": Tally(help="Runs that ended, by kind and status.", labels=("kind", "status")),
    "run_attempts": Tally(help="Attempts at runs that ended, by kind and outcome.", labels=("kind", "outcome")),
    "run_seconds": Tally(help="Seconds from the first start of a run to its end.", labels=("kind",), bounds=_LONG_S),
    "run_queue_seconds": Tally(help="Seconds that a run waited for a worker.", bounds=(0.1, 0.5, *_LONG_S)),
    "checkpoint_seconds": Tally(help="Seconds to save a checkpoint.", labels=("kind",), bounds=_SHORT_S),
    "tuning_steps": Tally(help="Steps of tuning; one step updates all prompts of a run."),
    "tuning_tokens": Tally(help="Tokens of the examples of all steps of tuning, once for each prompt."),
    "generate_tokens": Tally(help="Tokens that generate runs have generated or received from teachers."),
    "harvest_rows": Tally(help="Rows of activations that harvests have written."),
}
"""All tallies by name, without the prefix ``promptatlas_``."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series of a tally. value: of a counter, or the sum of a histogram. counts: cumulative, by bucket."""

    labels: tuple[str, ...]
    value: float
    counts: tuple[float, ...] = ()


class TallyBuffer:
    """Additions that one process has not written yet. Safe for use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._amounts: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, *, labels: tuple[str, ...] = ()) -> None:
        """Add to a counter."""
        self._add({_field(name, labels): amount})

    def observe(self, name: str, value: float, *, labels: tuple[str, ...] = ()) -> None:
        """Add an observation to a histogram."""
        bounds = TALLIES[name].bounds
        assert bounds is not None
        value = max(value, 0.0)  # the clocks of two hosts may differ
        bound = next((bound for bound in bounds if value <= bound), _NO_BOUND)
        self._add({_field(name, labels, bound): 1, _field(name, labels, _SUM): value})

    def take(self) -> dict[str, float]:
        """All additions; the buffer is empty then."""
        with self._lock:
            amounts, self._amounts = self._amounts, {}
        return amounts

    def put_back(self, amounts: Mapping[str, float]) -> None:
        """Return what could not be written."""
        self._add(amounts)

    def _add(self, amounts: Mapping[str, float]) -> None:
        with self._lock:
            for field, amount in amounts.items():
                self._amounts[field] = self._amounts.get(field, 0) + amount


class Tallies:
    """The tallies in one Redis. Methods raise Unavailable if Redis fails."""

    def __init__(self, connection: Redis) -> None:
        self._redis: Any = connection

    @classmethod
    def at(cls, url: str) -> Tallies:
        """The tallies in the Redis at ``url``."""
        return cls(connect(url))

    def write(self, buffer: TallyBuffer) -> None:
        """Add what a buffer contains; while Redis is unavailable, it stays in the buffer."""
        amounts = buffer.take()
        if not amounts:
            return
        try:
            with redis_errors_as_unavailable():
                pipeline = self._redis.pipeline()
                for field, amount in amounts.items():
                    pipeline.hincrbyfloat(_KEY, field, amount)
                pipeline.execute()
        except Unavailable:
            buffer.put_back(amounts)
            raise

    def end_attempt(
        self, run_id: str, attempt: int, *, kind: str, outcome: Outcome, ended: tuple[str, float | None] | None = None
    ) -> None:
        """Count the end of an attempt. Repeated calls count once, also those of several processes. Failures are ignored.

        Args:
            ended: status of the run if it has ended too, and its seconds since the first start.
        """
        buffer = TallyBuffer()
        buffer.count("run_attempts", labels=(kind, outcome))
        if ended is not None:
            status, seconds = ended
            buffer.count("runs_ended", labels=(kind, status))
            if seconds is not None:
                buffer.observe("run_seconds", seconds, labels=(kind,))
        with suppress(Unavailable):
            if self._is_first(run_id, attempt):
                self.write(buffer)

    def end_waiting_run(self, *, kind: str, status: str) -> None:
        """Count a run that ended in the queue. Failures are ignored."""
        buffer = TallyBuffer()
        buffer.count("runs_ended", labels=(kind, status))
        with suppress(Unavailable):
            self.write(buffer)

    def read(self) -> dict[str, list[Series]]:
        """All series by the name of their tally, in order of their labels."""
        with redis_errors_as_unavailable():
            stored = self._redis.hgetall(_KEY)
        return parse_tallies(stored)

    def _is_first(self, run_id: str, attempt: int) -> bool:
        with redis_errors_as_unavailable():
            return bool(self._redis.set(f"promptatlas:tallied:{run_id}:{attempt}", 1, nx=True, ex=_KEEP_MARK_S))


def ended_of(state: RunState) -> tuple[str, float | None] | None:
    """Status of a run that has ended, and its seconds since its first start; None for a run that has not ended."""
    if not state.has_ended or state.ended_at is None:
        return None
    seconds = None
    if state.started_at is not None:
        seconds = (read_time(state.ended_at) - read_time(state.started_at)).total_seconds()
    return state.status, seconds


def parse_tallies(stored: Mapping[bytes, bytes]) -> dict[str, list[Series]]:
    """The series in the fields of the hash. Fields of other versions are ignored."""
    found: dict[str, dict[tuple[str, ...], dict[object, float]]] = {name: {} for name in TALLIES}
    for field, amount in stored.items():
        name, labels, part = json.loads(field)
        if name in TALLIES and len(labels) == len(TALLIES[name].labels):
            found[name].setdefault(tuple(labels), {})[part] = float(amount)
    return {
        name: [_series(labels, parts, bounds=TALLIES[name].bounds) for labels, parts in sorted(rows.items())]
        for name, rows in found.items()
    }


def _series(labels: tuple[str, ...], parts: Mapping[object, float], *, bounds: Sequence[float] | None) -> Series:
    if bounds is None:
        return Series(labels=labels, value=parts.get(None, 0.0))
    # By bound and not by index, so that a version with other bounds does not misread them.
    counts = tuple(accumulate(parts.get(bound, 0.0) for bound in (*bounds, _NO_BOUND)))
    return Series(labels=labels, value=parts.get(_SUM, 0.0), counts=counts)


def _field(name: str, labels: tuple[str, ...], part: float | str | None = None) -> str:
    """Field of the hash. part: upper bound of a bucket, or the sum; None for a counter."""
    return json.dumps([name, labels, part])
