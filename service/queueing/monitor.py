"""Monitor of the queue: reconciles periodically, in the API process or in a process of its own, and tolerates failures."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import structlog

from service.errors import AtlasError
from service.queueing.queue import RunCounts, RunQueue
from service.queueing.reconciler import Reconciler

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class QueueNumbers:
    """Result of the last check. counts: None until a process has counted runs."""

    counts: RunCounts | None
    n_workers: int


class QueueMonitor:
    """Reconciles periodically; logs once when that fails, and once when it succeeds again.

    Attributes:
        numbers: result of the last check; None before the first one, and while Redis or the store is unavailable.
    """

    def __init__(self, queue: RunQueue, reconciler: Reconciler) -> None:
        self.numbers: QueueNumbers | None = None
        self._queue = queue
        self._reconciler = reconciler
        self._interval_s = queue.timing.reconcile_s
        self._is_unavailable = False

    def run(self, stop: threading.Event) -> None:
        """Check periodically until ``stop`` is set; for a process of its own."""
        while not stop.is_set():
            self.check()
            stop.wait(self._interval_s)

    async def run_forever(self) -> None:
        """Check periodically until cancelled; for an event loop."""
        while True:
            await asyncio.to_thread(self.check)
            await asyncio.sleep(self._interval_s)

    def check(self) -> None:
        """Reconcile and count once; does not raise."""
        try:
            counts = self._reconciler.reconcile() or self._queue.counts()
            self.numbers = QueueNumbers(counts=counts, n_workers=len(self._queue.workers()))
        except AtlasError as error:
            if not self._is_unavailable:
                _log.warning("runs cannot be reconciled at the moment", reason=error.detail)
            self._is_unavailable = True
            self.numbers = None
        except Exception:
            _log.exception("reconciliation of runs failed")
        else:
            if self._is_unavailable:
                _log.info("runs are reconciled again")
            self._is_unavailable = False
