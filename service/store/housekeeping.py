"""Periodic upkeep of the store: stale files of crashed writers, expired idempotency records, logs of ended runs, retention."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from service.errors import AtlasError
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.leases import Leases
from service.store.artifacts.settled_folders import SettledFolders
from service.store.artifacts.store import ArtifactStore
from service.store.idempotency import IdempotencyStore
from service.store.index.changes import Changes
from service.store.runs.log.folding import Folding

EVERY_S = 3600.0
FIRST_AFTER_S = 600.0

TURN = timedelta(minutes=50)
"""Shorter than the interval of the sweeps, so that a process that sweeps every hour gets a turn every hour."""

TASK = "sweep"

_log = structlog.get_logger(__name__)


class Housekeeper:
    """Sweeps a store periodically. Of all processes that share the store, one sweeps in each period.

    Safe to run concurrently with writers, and with another sweep.

    Args:
        artifacts, idempotency: The stores to sweep.
        settled: Folders in which the last sweep of this host found nothing to remove; None: all manifests are read.
        retain: Applies the limits of what is kept of runs, and returns the number of objects removed.
        sleep: Waits a number of seconds.
        clock: Determines turns.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        idempotency: IdempotencyStore,
        settled: SettledFolders | None = None,
        retain: Callable[[], int] = lambda: 0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Clock = utc_now,
    ) -> None:
        self._artifacts = artifacts
        self._idempotency = idempotency
        self._changes = Changes(artifacts, clock=clock)
        self._folding = Folding(artifacts, clock=clock)
        self._leases = Leases(artifacts, clock=clock)
        self._settled = settled
        self._retain = retain
        self._sleep = sleep

    async def run_beside(self) -> None:
        """Sweep forever, for the first time some minutes after the start, so that frequent restarts do not sweep each time."""
        await self._sleep(FIRST_AFTER_S)
        while True:
            await asyncio.to_thread(self.sweep)
            await self._sleep(EVERY_S)

    def sweep(self) -> int:
        """Sweep once and return the number of files and records removed.

        Nothing is done if another process has this turn, or the store is unreachable.
        """
        try:
            if not self._leases.take(TASK, every=TURN):
                return 0
            n_removed = self._artifacts.sweep(settled=self._settled) + self._idempotency.sweep()
            # Folding reads the changes before they are removed.
            n_removed += self._folding.run() + self._changes.sweep() + self._retain()
        except AtlasError as error:
            _log.warning("store sweep failed", reason=error.detail)
            return 0
        if n_removed:
            _log.info("store swept", n_removed=n_removed)
        return n_removed
