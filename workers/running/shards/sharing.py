"""Division of a run's shards among its workers: the one that has the run, and its helpers.

A shard depends only on the plan of the run, so that it is the same whichever worker computes it, and computing it twice is
harmless.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from service.store.runs.records import Output
from workers.running.interface import SharedRunContext, WorkContext

POLL_INTERVAL_S = 0.25
"""Poll interval while only shards of helpers are missing."""

Before = Callable[[], bool]
"""Called before each shard; False ends the loop."""

Done = Callable[[int, Output], None]
"""Called with each shard that this worker has written."""


class WriteShards(Protocol):
    """Writes those of the wanted shards that no other worker has leased."""

    def __call__(self, wanted: Collection[int], *, before: Before, done: Done) -> None: ...


class StoredShards(Protocol):
    """The part of a store of shards that the division needs."""

    def find(self, number: int) -> Output | None:
        """A stored shard, or None."""

    def find_all(self, numbers: Iterable[int]) -> dict[int, Output]:
        """The stored shards among ``numbers``."""


class SharedShards:
    """All shards of a run, completed by the worker that has the run with the help of idle workers.

    Args:
        numbers: of all shards, in order.
        on_progress: called whenever shards were found.
        wants_help: whether idle workers may help.
    """

    def __init__(
        self,
        run: SharedRunContext,
        *,
        numbers: Sequence[int],
        store: StoredShards,
        on_progress: Callable[[Mapping[int, Output]], None],
        wants_help: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = run
        self._numbers = tuple(numbers)
        self._store = store
        self._on_progress = on_progress
        self._wants_help = wants_help
        self._sleep = sleep
        self.found: dict[int, Output] = store.find_all(self._numbers)
        self._n_before = len(self.found)
        self._n_own = 0

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are not stored yet, in order."""
        return [number for number in self._numbers if number not in self.found]

    @property
    def n_by_helpers(self) -> int:
        """Number of shards that helpers have written during this attempt."""
        return len(self.found) - self._n_before - self._n_own

    def complete(self, write: WriteShards) -> None:
        """Return when all shards are stored."""
        self._on_progress(self.found)
        while missing := self.missing:
            n_own = self._n_own
            write(missing, before=self._before, done=self._done)
            self._refresh()
            if self._n_own == n_own and self.missing:
                self._wait()
        self._run.coordinator.withdraw_requests()

    def look_around(self) -> None:
        """Look up shards of helpers and request help, within the computation of a long shard, which this worker has leased."""
        self._refresh()
        self._request_help(n_own=0)

    def _before(self) -> bool:
        self._run.check()
        self._request_help()
        return True

    def _done(self, number: int, output: Output) -> None:
        self._n_own += 1
        self.found[number] = output
        self._refresh()

    def _refresh(self) -> None:
        """Look up shards that helpers have written."""
        self.found |= self._store.find_all(self.missing)
        self._on_progress(self.found)

    def _wait(self) -> None:
        self._run.check()
        self._request_help()
        self._sleep(POLL_INTERVAL_S)

    def _request_help(self, *, n_own: int = 1) -> None:
        """Request one helper per free shard, except for those that this worker computes next."""
        missing = [str(number) for number in self.missing]
        if self._wants_help and len(missing) > 1:
            self._run.coordinator.request_helpers(len(self._run.coordinator.unleased(missing)) - n_own)


def write_leased(
    wanted: Collection[int],
    *,
    place: WorkContext,
    store: StoredShards,
    compute: Callable[[int], Output],
    before: Before,
    done: Done,
) -> None:
    """Compute those of the wanted shards that no other worker has leased or stored, in order.

    Args:
        compute: Computes and stores a shard.
    """
    for number in sorted(wanted):
        if not before():
            return
        with place.coordinator.lease(str(number)) as has_lease:
            if has_lease and store.find(number) is None:
                done(number, compute(number))


def free_shards(place: WorkContext, *, numbers: Iterable[int], store: StoredShards) -> list[int]:
    """Numbers of the shards that are not stored, in order; none if all of them are leased."""
    wanted = sorted(numbers)
    found = store.find_all(wanted)
    missing = [number for number in wanted if number not in found]
    return missing if place.coordinator.unleased([str(number) for number in missing]) else []


def help_with_shards(place: WorkContext, *, missing: Collection[int], write: WriteShards) -> None:
    """Write free shards until none are left or a run waits for a worker."""

    def may_continue() -> bool:
        place.check()
        return not place.coordinator.runs_are_waiting()

    write(missing, before=may_continue, done=lambda number, output: None)
