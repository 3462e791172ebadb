"""What nobody else does in passing: removing what writers that died have left, and answers that are kept no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from service.errors import AtlasError
from service.store.artifacts.store import ArtifactStore
from service.store.idempotency import IdempotencyStore

EVERY_S = 3600.0
FIRST_AFTER_S = 600.0

_log = structlog.get_logger(__name__)


class Housekeeper:
    """Sweeps a store now and then. Any number of them may, beside any number of writers.

    Args:
        artifacts, idempotency: what is swept.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        idempotency: IdempotencyStore,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._artifacts = artifacts
        self._idempotency = idempotency
        self._sleep = sleep

    async def run_beside(self) -> None:
        """Sweep for ever, first some minutes after the start: a service that is restarted often need not each time."""
        await self._sleep(FIRST_AFTER_S)
        while True:
            await asyncio.to_thread(self.sweep)
            await self._sleep(EVERY_S)

    def sweep(self) -> int:
        """Sweep once; how many files and records are gone. A store that cannot be reached is left for the next time."""
        try:
            n_removed = self._artifacts.sweep() + self._idempotency.sweep()
        except AtlasError as error:
            _log.warning("store could not be swept", reason=error.detail)
            return 0
        if n_removed:
            _log.info("store swept", n_removed=n_removed)
        return n_removed
