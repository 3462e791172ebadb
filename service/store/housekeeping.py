"""Periodic garbage collection of the store: stale files of crashed writers, expired idempotency records, retention."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from service.errors import AtlasError
from service.store.artifacts.store import ArtifactStore
from service.store.idempotency import IdempotencyStore
from service.store.index.changes import Changes

EVERY_S = 3600.0
FIRST_AFTER_S = 600.0

_log = structlog.get_logger(__name__)


class Housekeeper:
    """Sweeps a store periodically; safe to run in several processes, and concurrently with writers.

    Args:
        artifacts, idempotency: The stores to sweep.
        retain: Applies the limits of what is kept of runs, and returns the number of objects removed.
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        idempotency: IdempotencyStore,
        retain: Callable[[], int] = lambda: 0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._artifacts = artifacts
        self._idempotency = idempotency
        self._changes = Changes(artifacts)
        self._retain = retain
        self._sleep = sleep

    async def run_beside(self) -> None:
        """Sweep forever, for the first time some minutes after the start, so that frequent restarts do not sweep each time."""
        await self._sleep(FIRST_AFTER_S)
        while True:
            await asyncio.to_thread(self.sweep)
            await self._sleep(EVERY_S)

    def sweep(self) -> int:
        """Sweep once and return the number of files and records removed; an unreachable store is skipped."""
        try:
            n_removed = self._artifacts.sweep() + self._idempotency.sweep() + self._changes.sweep() + self._retain()
        except AtlasError as error:
            _log.warning("store sweep failed", reason=error.detail)
            return 0
        if n_removed:
            _log.info("store swept", n_removed=n_removed)
        return n_removed
