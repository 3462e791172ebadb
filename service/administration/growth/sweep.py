"""Periodic retention: the limits of what is kept, applied with each sweep of a store."""

from __future__ import annotations

import structlog

from service.administration.growth.retention import Retention, limits_of
from service.administration.inventory import Inventory
from service.settings import Settings
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import ArtifactStore
from service.store.files.remote_files import open_files

_log = structlog.get_logger(__name__)


class RetentionSweep:
    """Applies the limits of the settings to their store.

    Args:
        settings: Store and limits.
        clock: Determines ages.
    """

    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        self._files = open_files(settings.home)
        artifacts = ArtifactStore(settings.home, files=self._files, clock=clock)
        self._retention = Retention(artifacts, limits=limits_of(settings), clock=clock)

    def run(self) -> int:
        """Remove what exceeds the limits; returns the number of parts removed."""
        if self._retention.is_off:
            return 0
        n_parts = 0
        for expiry in self._retention.apply(self._retention.plan(Inventory(self._files))):
            n_parts += len(expiry.parts)
            _log.info("parts of a run expired", run_id=expiry.run_id, n_parts=len(expiry.parts), n_bytes=expiry.n_bytes)
        return n_parts
