"""Coordination of the workers of one run through Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from service.errors import Unavailable
from service.queueing.connections import connect
from service.queueing.intervals import Intervals
from service.queueing.work_sharing import HelpQueue, Leases
from service.settings import Settings
from workers.running.periodic import PeriodicThread


class LocalCoordinator:
    """A :class:`workers.running.interface.Coordinator` of a single worker, for settings without Redis."""

    @contextmanager
    def lease(self, part: str) -> Iterator[bool]:
        """Always True."""
        yield True

    def unleased(self, parts: Sequence[str]) -> Sequence[str]:
        """All of ``parts``."""
        return parts

    def request_helpers(self, n: int) -> int:
        """Always 0."""
        return 0

    def runs_are_waiting(self) -> bool:
        """Always False."""
        return False

    def withdraw_requests(self) -> None:
        """Do nothing."""


class RedisCoordinator:
    """A :class:`workers.running.interface.Coordinator`. While Redis is unreachable, each worker continues as if alone.

    Args:
        run_id: of the run.
        help_queue: receives requests for helpers.
        leases: of the run's parts.
        timing: how often leases are renewed and helpers are requested.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        run_id: str,
        *,
        help_queue: HelpQueue,
        leases: Leases,
        timing: Intervals,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_id = run_id
        self._help_queue = help_queue
        self._leases = leases
        self._timing = timing
        self._clock = clock
        self._requested_at_s: float | None = None
        self._has_requested = False

    @contextmanager
    def lease(self, part: str) -> Iterator[bool]:
        """Lease a part until the context exits; the lease is renewed periodically."""
        try:
            is_leased = self._leases.acquire(part)
        except Unavailable:
            is_leased = True
        if not is_leased:
            yield False
            return
        try:
            with PeriodicThread(lambda: self._renew(part), interval_s=self._timing.beat_s, name="renew a lease"):
                yield True
        finally:
            with suppress(Unavailable):
                self._leases.release(part)

    def unleased(self, parts: Sequence[str]) -> Sequence[str]:
        """Those of ``parts`` that no worker has leased; all of them while Redis is unreachable."""
        try:
            return self._leases.available(parts)
        except Unavailable:
            return parts

    def request_helpers(self, n: int) -> int:
        """Request idle workers as helpers, at most once per ``look_s``."""
        now_s = self._clock()
        if self._requested_at_s is not None and now_s - self._requested_at_s < self._timing.look_s:
            return 0
        self._requested_at_s = now_s
        with suppress(Unavailable):
            n_requested = self._help_queue.request(self._run_id, n=n)
            self._has_requested = self._has_requested or n_requested > 0
            return n_requested
        return 0

    def runs_are_waiting(self) -> bool:
        """Whether runs wait for a worker; False while Redis is unreachable."""
        try:
            return self._help_queue.has_waiting_runs()
        except Unavailable:
            return False

    def withdraw_requests(self) -> None:
        """Withdraw the requests that no worker has accepted."""
        if self._has_requested:
            with suppress(Unavailable):
                self._help_queue.withdraw(self._run_id)

    def _renew(self, part: str) -> None:
        with suppress(Unavailable):
            self._leases.renew(part)


def open_coordinator(run_id: str, *, settings: Settings, timing: Intervals) -> LocalCoordinator | RedisCoordinator:
    """The coordinator for the Redis of the settings."""
    if settings.redis_url is None:
        return LocalCoordinator()
    connection = connect(settings.redis_url)
    return RedisCoordinator(
        run_id,
        help_queue=HelpQueue(connection, timing=timing),
        leases=Leases(connection, run_id=run_id, timing=timing),
        timing=timing,
    )
