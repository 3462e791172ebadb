"""Monitor of the queue: reconciles periodically, in the API process or in a process of its own, and tolerates failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from service.errors import AtlasError
from service.queueing.queue import RunCounts, RunQueue
from service.queueing.reconciler import Reconciler
from service.queueing.tallies import Series

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class QueueNumbers:
    """Result of the last check.

    counts: None until a process has counted runs. queue_age_s: how long the next run has waited, 0 if none waits.
    tallies: of the workers, by name.
    """

    counts: RunCounts | None
    n_workers: int
    n_busy: int = 0
    queue_age_s: float = 0.0
    tallies: Mapping[str, Sequence[Series]] = field(default_factory=dict)


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
            workers = self._queue.workers()
            self.numbers = QueueNumbers(
                counts=counts,
                n_workers=len(workers),
                n_busy=sum(worker.busy for worker in workers),
                queue_age_s=self._queue.age_s(),
                tallies=self._queue.tallies.read(),
            )
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
