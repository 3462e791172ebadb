"""Builds the index when it is missing, and reads changes also while nobody lists."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from service.errors import AtlasError
from service.store.artifacts.store import ArtifactStore
from service.store.index.database import IndexUnavailable
from service.store.index.index import StoreIndex
from service.store.reindex import Reindex

EVERY_S = 5.0

_log = structlog.get_logger(__name__)


class IndexUpkeep:
    """Keeps an index usable; safe to run in several processes.

    Args:
        artifacts: The store.
        index: Its index.
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        index: StoreIndex,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._artifacts = artifacts
        self._index = index
        self._sleep = sleep

    async def run_forever(self) -> None:
        """Check the index every :data:`EVERY_S` seconds."""
        while True:
            await asyncio.to_thread(self.check)
            await self._sleep(EVERY_S)

    def check(self) -> None:
        """Build the index if it is missing, damaged or of another store, else read the changes."""
        try:
            if self._index.is_built():
                self._index.catch_up()
                return
            report = Reindex(self._artifacts, index=self._index).run()
            _log.info("index built", n_entries=report.n_entries)
        except IndexUnavailable as error:
            _log.debug("index cannot be used", reason=str(error))
        except AtlasError as error:
            _log.debug("store cannot be read for the index", reason=error.detail)
