"""Recovery of the runs whose worker died on this host, without waiting for a heartbeat to expire."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import BinaryIO

import structlog

from service.errors import AtlasError, Unavailable
from service.queueing.executions import Execution, Executions
from service.queueing.queue import RunQueue
from service.queueing.reconciler import record_death
from service.store.runs.store import RunStore

_log = structlog.get_logger(__name__)

DIED = "its worker process died"

_RETRY_S = 1.0


class LocalRecovery:
    """Recovers the runs of dead workers of this host. Any number of processes may do so at the same time.

    Args:
        queue: receives the runs.
        runs: the authoritative state of all runs.
        executions: the processes that execute attempts.
        max_attempts: a run fails after this many attempts whose worker died.
        sleep: waits a number of seconds.
    """

    def __init__(
        self,
        queue: RunQueue,
        runs: RunStore,
        *,
        executions: Executions,
        max_attempts: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._executions = executions
        self._max_attempts = max_attempts
        self._sleep = sleep

    def run(self, wakeups: BinaryIO) -> None:
        """Recover now, at each byte of ``wakeups``, and every ``look_s``; forever, for a thread of its own."""
        while True:
            self._recover_with_retries()
            # Without a wakeup, for workers of another main process that has been killed.
            if select.select([wakeups], [], [], self._queue.timing.look_s)[0]:
                wakeups.read(1)

    def recover(self) -> list[str]:
        """Recover the runs of workers that have died; returns their ids.

        Raises:
            Unavailable: Redis or the store fails. The records of the other runs are kept for the next call.
        """
        dead = self._executions.of_dead_workers()
        for execution in dead:
            self._recover(execution)
        return [execution.run_id for execution in dead]

    def _recover(self, execution: Execution) -> None:
        run_id, attempt = execution.run_id, execution.attempt
        try:
            _, state = self._runs.get(run_id)
            if state.status == "running" and state.attempts == attempt:
                record_death(
                    self._queue, self._runs, run_id, attempt=attempt, reason=DIED, max_attempts=self._max_attempts
                )
            elif state.status == "queued" and state.attempts == attempt - 1:
                # It died between taking the run from the queue and claiming it.
                self._queue.requeue(run_id, attempt)
            elif state.status == "queued":
                self._queue.enqueue(run_id, state.attempts + 1)
        except Unavailable:
            raise
        except AtlasError as error:
            _log.warning("run of a dead worker cannot be recovered", run_id=run_id, reason=error.detail)
        self._queue.clear_heartbeat(run_id, attempt)
        self._executions.remove(run_id, attempt)

    def _recover_with_retries(self) -> None:
        is_logged = False
        while True:
            try:
                self.recover()
                return
            except Unavailable as error:
                if not is_logged:
                    _log.warning("runs of dead workers cannot be recovered at the moment", reason=error.detail)
                is_logged = True
            except Exception:
                _log.exception("recovery of runs of dead workers failed")
                return
            self._sleep(_RETRY_S)
