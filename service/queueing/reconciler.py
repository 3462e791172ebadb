"""Makes the queue say what the store says: every unfinished run waits in line or shows signs of life.

Any number of processes may do this at once; they take turns, and each step is harmless when done twice.
"""

from __future__ import annotations

import structlog

from service.errors import AtlasError
from service.queueing.queue import Census, RunQueue
from service.store.runs.records import RunState
from service.store.runs.store import RunStore

_log = structlog.get_logger(__name__)

_SURE = 2
"""So often in a row must a run be missed before something is done: a sign of life may just be under way."""

VANISHED = "its worker vanished"


class Reconciler:
    """Looks after all unfinished runs.

    Args:
        queue: the line and the signs of life.
        runs: the truth.
        max_attempts: after so many attempts that died a run fails.
    """

    def __init__(self, queue: RunQueue, runs: RunStore, *, max_attempts: int) -> None:
        self._queue = queue
        self._runs = runs
        self._max_attempts = max_attempts

    def reconcile(self) -> Census | None:
        """Compare once and mend what differs; None when another process has just done it.

        Raises:
            Unavailable: Redis or the store cannot be reached; nothing is concluded from that.
        """
        if not self._queue.take_turn():
            return None
        self._queue.ping()
        waiting = self._queue.positions()
        unfinished = self._runs.unfinished()
        for record, state in unfinished:
            self._try_to_look_after(record.id, state, waits=record.id in waiting)
        n_queued = sum(state.status == "queued" for _, state in unfinished)
        census = Census(n_queued=n_queued, n_running=len(unfinished) - n_queued)
        self._queue.put_census(census)
        return census

    def _try_to_look_after(self, run_id: str, state: RunState, *, waits: bool) -> None:
        try:
            self._look_after(run_id, state, waits=waits)
        except AtlasError as error:
            self._queue.ping()  # one run's trouble is not the others', but that of Redis is
            _log.warning("run cannot be looked after", run_id=run_id, reason=error.detail)

    def _look_after(self, run_id: str, state: RunState, *, waits: bool) -> None:
        is_queued = state.status == "queued"
        if (is_queued and waits) or self._queue.alive(run_id):
            self._queue.trust(run_id)
        elif is_queued and not self._queue.knows(run_id, state.attempts + 1):
            _log.info("run put in line", run_id=run_id)
            self._queue.enqueue(run_id, state.attempts + 1)
        elif self._queue.suspect(run_id) >= _SURE:
            self._queue.trust(run_id)
            self._recover(run_id, state)

    def _recover(self, run_id: str, state: RunState) -> None:
        if state.status == "queued":
            _log.warning("run put in line again: nobody came for it", run_id=run_id)
            self._queue.enqueue_again(run_id, state.attempts + 1)
        else:
            bury(
                self._queue,
                self._runs,
                run_id,
                attempt=state.attempts,
                reason=VANISHED,
                max_attempts=self._max_attempts,
            )


def bury(queue: RunQueue, runs: RunStore, run_id: str, *, attempt: int, reason: str, max_attempts: int) -> RunState:
    """Record that an attempt has died, and put the run in line for the next one if there is to be one.

    An attempt that could only leave word in Redis why it failed has failed for that reason, and is not repeated.
    """
    words = queue.last_words(run_id, attempt)
    state = runs.note_death(
        run_id, attempt=attempt, reason=words or reason, max_attempts=max_attempts if words is None else 1
    )
    _log.warning("attempt died", run_id=run_id, attempt=attempt, reason=words or reason, status=state.status)
    if state.status == "queued":
        queue.enqueue(run_id, state.attempts + 1)
    return state
