"""The workers at one run, as one of them sees the others: by way of Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from service.errors import Unavailable
from service.queueing.connections import connect
from service.queueing.intervals import Intervals
from service.queueing.work_sharing import HelpLine, Leases
from service.settings import Settings
from workers.running.periodic import PeriodicThread


class LoneTeam:
    """Nobody else is there: without Redis nobody could be reached."""

    @contextmanager
    def part(self, name: str) -> Iterator[bool]:
        """Every part can be had."""
        yield True

    def free(self, names: Sequence[str]) -> Sequence[str]:
        """All of them."""
        return names

    def ask(self, n: int) -> int:
        """There is nobody to ask."""
        return 0

    def is_needed_elsewhere(self) -> bool:
        """Nobody else could ask."""
        return False

    def disband(self) -> None:
        """Nobody was asked."""


class RedisTeam:
    """A :class:`workers.running.interface.Team`. While Redis is away each goes on as if alone.

    Args:
        run_id: of the run.
        line: where helpers are asked for.
        leases: says who has which part.
        timing: how often leases are renewed, and others are looked at.
        clock: steady seconds.
    """

    def __init__(
        self,
        run_id: str,
        *,
        line: HelpLine,
        leases: Leases,
        timing: Intervals,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_id = run_id
        self._line = line
        self._leases = leases
        self._timing = timing
        self._clock = clock
        self._asked_s: float | None = None
        self._has_asked = False

    @contextmanager
    def part(self, name: str) -> Iterator[bool]:
        """Have a part until the context ends; its lease is renewed meanwhile."""
        try:
            has_it = self._leases.take(name)
        except Unavailable:
            has_it = True
        if not has_it:
            yield False
            return
        try:
            with PeriodicThread(lambda: self._renew(name), interval_s=self._timing.beat_s, name="keep a part of a run"):
                yield True
        finally:
            with suppress(Unavailable):
                self._leases.give_back(name)

    def free(self, names: Sequence[str]) -> Sequence[str]:
        """Those parts that nobody has; while that cannot be known, all."""
        try:
            return self._leases.free(names)
        except Unavailable:
            return names

    def ask(self, n: int) -> int:
        """Ask idle workers for help, no oftener than others are looked at."""
        now_s = self._clock()
        if self._asked_s is not None and now_s - self._asked_s < self._timing.look_s:
            return 0
        self._asked_s = now_s
        with suppress(Unavailable):
            n_asked = self._line.ask(self._run_id, n=n)
            self._has_asked = self._has_asked or n_asked > 0
            return n_asked
        return 0

    def is_needed_elsewhere(self) -> bool:
        """Whether runs wait for a worker."""
        try:
            return self._line.runs_wait()
        except Unavailable:
            return False

    def disband(self) -> None:
        """Take back what was asked and not followed."""
        if self._has_asked:
            with suppress(Unavailable):
                self._line.withdraw(self._run_id)

    def _renew(self, name: str) -> None:
        with suppress(Unavailable):
            self._leases.renew(name)


def team_of(run_id: str, *, settings: Settings, timing: Intervals) -> LoneTeam | RedisTeam:
    """The workers that share the settings' Redis."""
    if settings.redis_url is None:
        return LoneTeam()
    connection = connect(settings.redis_url)
    line = HelpLine(connection, timing=timing)
    return RedisTeam(run_id, line=line, leases=Leases(connection, run_id=run_id, timing=timing), timing=timing)
