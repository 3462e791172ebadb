"""Reconciler of the queue with the store: every unfinished run must be queued or have a heartbeat.

Any number of processes may run it. They take turns, and every step is idempotent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from service.errors import AtlasError, Unavailable
from service.queueing.queue import RunCounts, RunQueue
from service.queueing.tallies import ended_of
from service.store.runs.records import RunRecord, RunState
from service.store.runs.store import RunStore
from service.store.runs.unfinished import UnfinishedEntry

_log = structlog.get_logger(__name__)

_MIN_MISSED_CHECKS = 2
"""Checks in a row that must miss a run before it is recovered, since a heartbeat may be about to arrive."""

_MAX_CHECKED = 100
"""With a few calls for each run, one pass takes seconds even on a slow store."""

_BATCH_SIZE = 25

VANISHED = "its worker vanished"


class Reconciler:
    """Recovers unfinished runs that are neither queued nor alive.

    Args:
        queue: queued runs and heartbeats.
        runs: the authoritative state of all runs.
        max_attempts: a run fails after this many attempts whose worker died.
        max_checked: number of runs that one pass reads from the store; the others are checked in the next passes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        queue: RunQueue,
        runs: RunStore,
        *,
        max_attempts: int,
        max_checked: int = _MAX_CHECKED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._max_attempts = max_attempts
        self._max_checked = max_checked
        self._clock = clock
        self._last_checked = ""

    def reconcile(self) -> RunCounts | None:
        """Compare the queue with the store once, and repair the queue; None if another process has its turn.

        Only runs that are neither queued nor alive are read from the store, at most ``max_checked`` of them.

        Raises:
            Unavailable: Redis or the store is unreachable; no run is changed because of that.
        """
        if not self._queue.acquire_turn():
            return None
        started_s = self._clock()
        try:
            return self._reconcile(started_s)
        finally:
            with suppress(Unavailable):
                self._queue.end_turn(after_s=self._clock() - started_s)

    def _reconcile(self, started_s: float) -> RunCounts:
        self._queue.ping()
        self._runs.hold_reserve()
        entries = self._runs.unfinished_entries()
        run_ids = list(dict.fromkeys(run_id for run_id, _ in entries))
        waiting = set(run_ids) & set(self._queue.positions())
        alive = self._queue.alive(run_ids)
        suspects = [run_id for run_id in run_ids if run_id not in waiting and run_id not in alive]
        self._queue.reset_missing(waiting | alive)
        checked = set(self._choose(suspects))
        rows = self._read([entry for entry in entries if entry[0] in checked])
        # Results must outlive the next pass, which takes about as long as this one.
        lifetime_s = 5 * self._queue.timing.reconcile_s + 2 * (self._clock() - started_s)
        for record, state in rows:
            self._try_check(record.id, state, lifetime_s=lifetime_s)
        n_running = len(alive) + sum(state.status == "running" for _, state in rows)
        n_queued = len(waiting - alive) + sum(state.status == "queued" for _, state in rows)
        counts = RunCounts(n_queued=n_queued + len(suspects) - len(checked), n_running=n_running)
        self._queue.store_counts(counts, lifetime_s=lifetime_s)
        return counts

    def _choose(self, suspects: list[str]) -> list[str]:
        """The suspects of this pass: those of earlier passes first, then the others in turn."""
        if len(suspects) <= self._max_checked:
            return suspects
        known = self._queue.missing(suspects)
        others = [run_id for run_id in suspects if run_id not in known]
        later = [run_id for run_id in others if run_id > self._last_checked]
        others = later + others[: len(others) - len(later)]
        chosen = [*(run_id for run_id in suspects if run_id in known), *others][: self._max_checked]
        if chosen[-1] not in known:
            self._last_checked = chosen[-1]
        return chosen

    def _read(self, entries: Sequence[UnfinishedEntry]) -> list[tuple[RunRecord, RunState]]:
        rows = []
        for start in range(0, len(entries), _BATCH_SIZE):
            rows += self._runs.unfinished(entries[start : start + _BATCH_SIZE])
            self._queue.renew_turn()
        return rows

    def _try_check(self, run_id: str, state: RunState, *, lifetime_s: float) -> None:
        try:
            self._check(run_id, state, lifetime_s=lifetime_s)
        except AtlasError as error:
            self._queue.ping()  # an error of one run does not affect the others, but one of Redis does
            _log.warning("run cannot be reconciled", run_id=run_id, reason=error.detail)

    def _check(self, run_id: str, state: RunState, *, lifetime_s: float) -> None:
        # The first heartbeat may have been sent while the store was read.
        if self._queue.has_heartbeat(run_id):
            self._queue.reset_missing([run_id])
        elif state.status == "queued" and not self._queue.has_job(run_id, state.attempts + 1):
            _log.info("run queued", run_id=run_id)
            self._queue.enqueue(run_id, state.attempts + 1)
        elif self._queue.count_missing(run_id, lifetime_s=lifetime_s) >= _MIN_MISSED_CHECKS:
            self._queue.reset_missing([run_id])
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
    record, before = runs.get(run_id)
    failure = queue.failure_reason(run_id, attempt)
    state = runs.note_death(
        run_id, attempt=attempt, reason=failure or reason, max_attempts=max_attempts if failure is None else 1
    )
    _log.warning(
        "worker of an attempt died", run_id=run_id, attempt=attempt, reason=failure or reason, status=state.status
    )
    if before.status == "running" and before.attempts == attempt:
        queue.tallies.end_attempt(run_id, attempt, kind=record.kind, outcome="died", ended=ended_of(state))
    if state.status == "queued":
        queue.enqueue(run_id, state.attempts + 1)
    return state
