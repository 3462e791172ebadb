"""Reconciler of the queue with the store: every unfinished run must be queued or have a heartbeat.

Any number of processes may run it. They take turns, and every step is idempotent.
"""

from __future__ import annotations

import structlog

from service.errors import AtlasError
from service.queueing.queue import RunCounts, RunQueue
from service.store.runs.records import RunState
from service.store.runs.store import RunStore

_log = structlog.get_logger(__name__)

_MIN_MISSED_CHECKS = 2
"""Checks in a row that must miss a run before it is recovered, since a heartbeat may be about to arrive."""

VANISHED = "its worker vanished"


class Reconciler:
    """Recovers unfinished runs that are neither queued nor alive.

    Args:
        queue: queued runs and heartbeats.
        runs: the authoritative state of all runs.
        max_attempts: a run fails after this many attempts whose worker died.
    """

    def __init__(self, queue: RunQueue, runs: RunStore, *, max_attempts: int) -> None:
        self._queue = queue
        self._runs = runs
        self._max_attempts = max_attempts

    def reconcile(self) -> RunCounts | None:
        """Compare the queue with the store once, and repair the queue; None if another process has done so in this interval.

        Raises:
            Unavailable: Redis or the store is unreachable; no run is changed because of that.
        """
        if not self._queue.acquire_turn():
            return None
        self._queue.ping()
        self._runs.hold_reserve()
        waiting = self._queue.positions()
        unfinished = self._runs.unfinished()
        for record, state in unfinished:
            self._try_check(record.id, state, is_waiting=record.id in waiting)
        n_queued = sum(state.status == "queued" for _, state in unfinished)
        counts = RunCounts(n_queued=n_queued, n_running=len(unfinished) - n_queued)
        self._queue.store_counts(counts)
        return counts

    def _try_check(self, run_id: str, state: RunState, *, is_waiting: bool) -> None:
        try:
            self._check(run_id, state, is_waiting=is_waiting)
        except AtlasError as error:
            self._queue.ping()  # an error of one run does not affect the others, but one of Redis does
            _log.warning("run cannot be reconciled", run_id=run_id, reason=error.detail)

    def _check(self, run_id: str, state: RunState, *, is_waiting: bool) -> None:
        is_queued = state.status == "queued"
        if (is_queued and is_waiting) or self._queue.has_heartbeat(run_id):
            self._queue.reset_missing(run_id)
        elif is_queued and not self._queue.has_job(run_id, state.attempts + 1):
            _log.info("run queued", run_id=run_id)
            self._queue.enqueue(run_id, state.attempts + 1)
        elif self._queue.count_missing(run_id) >= _MIN_MISSED_CHECKS:
            self._queue.reset_missing(run_id)
            self._recover(run_id, state)

    def _recover(self, run_id: str, state: RunState) -> None:
        if state.status == "queued":
            _log.warning("run queued again: no worker has taken it", run_id=run_id)
            self._queue.requeue(run_id, state.attempts + 1)
        else:
            record_death(
                self._queue,
                self._runs,
                run_id,
                attempt=state.attempts,
                reason=VANISHED,
                max_attempts=self._max_attempts,
            )


def record_death(
    queue: RunQueue, runs: RunStore, run_id: str, *, attempt: int, reason: str, max_attempts: int
) -> RunState:
    """Record that the worker of an attempt has died, and queue the run for the next attempt if there is to be one.

    If the attempt has kept a failure reason in Redis, because it could not write to the store, the run fails with that reason
    and is not retried.
    """
    failure = queue.failure_reason(run_id, attempt)
    state = runs.note_death(
        run_id, attempt=attempt, reason=failure or reason, max_attempts=max_attempts if failure is None else 1
    )
    _log.warning(
        "worker of an attempt died", run_id=run_id, attempt=attempt, reason=failure or reason, status=state.status
    )
    if state.status == "queued":
        queue.enqueue(run_id, state.attempts + 1)
    return state
