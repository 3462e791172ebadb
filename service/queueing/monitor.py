"""The reconciler at work, beside the routes or in a process of its own, whatever becomes of Redis."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import structlog

from service.errors import AtlasError
from service.queueing.queue import Census, RunQueue
from service.queueing.reconciler import Reconciler

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class QueueNumbers:
    """How things stood at the last look. census: None while nobody has counted."""

    census: Census | None
    n_workers: int


class QueueMonitor:
    """Reconciles again and again; says once that it cannot, and once that it can again.

    ``numbers``: as of the last look; None before the first, and while Redis or the store is away.
    """

    def __init__(self, queue: RunQueue, reconciler: Reconciler) -> None:
        self.numbers: QueueNumbers | None = None
        self._queue = queue
        self._reconciler = reconciler
        self._interval_s = queue.timing.reconcile_s
        self._is_lost = False

    def run(self, stop: threading.Event) -> None:
        """Go on until told to stop. For a process of its own."""
        while not stop.is_set():
            self.look()
            stop.wait(self._interval_s)

    async def run_beside(self) -> None:
        """Go on until cancelled. For an event loop."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self._interval_s)

    def look(self) -> None:
        """Reconcile once and count; raises nothing."""
        try:
            census = self._reconciler.reconcile() or self._queue.census()
            self.numbers = QueueNumbers(census=census, n_workers=len(self._queue.workers()))
        except AtlasError as error:
            if not self._is_lost:
                _log.warning("runs cannot be looked after for now", reason=error.detail)
            self._is_lost = True
            self.numbers = None
        except Exception:
            _log.exception("runs could not be looked after")
        else:
            if self._is_lost:
                _log.info("runs are looked after again")
            self._is_lost = False
