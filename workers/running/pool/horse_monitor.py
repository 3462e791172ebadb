"""A worker's eye on its work horse: shows that it lives, tells it to stop, and kills it if it will not.

In the worker's process and not the horse's, so that a run that holds its interpreter for long neither looks dead nor
escapes a cancel.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import TracebackType

import structlog

from service.errors import AtlasError, Unavailable
from service.queueing.queue import RunQueue
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from workers.running.periodic import PeriodicThread
from workers.running.pool.stop_signals import StopSignal

_log = structlog.get_logger(__name__)


class HorseMonitor:
    """Watches one attempt, from ``with`` to its end.

    Args:
        run_id: of the run.
        attempt: number of the attempt; None for a helper, which is no sign of the run's life.
        queue: where signs of life go.
        runs: says whether the run was cancelled or has been given to another.
        shutdown_grace_s: how long the run may take to save itself when the worker shuts down.
        horse_pid: of the work horse; 0 before it was started and after it has ended.
        is_stopping: whether the worker shuts down.
        clock: steady seconds.
        kill: sends a signal to a process.
    """

    def __init__(
        self,
        run_id: str,
        attempt: int | None,
        *,
        queue: RunQueue,
        runs: RunStore,
        shutdown_grace_s: float,
        horse_pid: Callable[[], int],
        is_stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        kill: Callable[[int, int], None] = os.kill,
    ) -> None:
        self._run_id = run_id
        self._attempt = attempt
        self._queue = queue
        self._runs = runs
        self._graces_s = {StopSignal.CANCEL: queue.timing.cancel_grace_s, StopSignal.SHUTDOWN: shutdown_grace_s}
        self._horse_pid = horse_pid
        self._is_stopping = is_stopping
        self._clock = clock
        self._kill = kill
        self._told: dict[StopSignal, float] = {}
        self._over_since_s: float | None = None
        self._threads = contextlib.ExitStack()
        self.killed_for: str | None = None

    def __enter__(self) -> HorseMonitor:
        timing = self._queue.timing
        self._threads.enter_context(PeriodicThread(self.beat, interval_s=timing.beat_s, name="show that a run lives"))
        self._threads.enter_context(
            PeriodicThread(self.look, interval_s=timing.look_s, name="look whether a run must stop")
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close()
        if self._attempt is not None:
            with contextlib.suppress(Unavailable):
                self._queue.note_gone(self._run_id, self._attempt)

    def beat(self) -> None:
        """Give a sign of life. While Redis is away nobody misses it."""
        if self._attempt is not None:
            with contextlib.suppress(Unavailable):
                self._queue.note_alive(self._run_id, self._attempt)

    def look(self) -> None:
        """Pass on new orders, and make those obeyed that are not in time."""
        state = self._state()
        if state is not None and self._is_over(state):
            self._end_what_is_over()
        if self._is_stopping():
            self._tell(StopSignal.SHUTDOWN)
        if state is not None and (state.cancel_requested or (self._attempt is None and state.has_ended)):
            self._tell(StopSignal.CANCEL)
        for order, told_s in self._told.items():
            if self._clock() - told_s > self._graces_s[order]:
                self._end(f"it did not stop in time when told to {order.name.lower()}")

    def _state(self) -> RunState | None:
        try:
            return self._runs.get(self._run_id)[1]
        except AtlasError as error:
            _log.warning("run cannot be looked at for now", run_id=self._run_id, reason=error.detail)
            return None

    def _is_over(self, state: RunState) -> bool:
        if self._attempt is None:
            return state.has_ended
        if state.attempts == self._attempt:
            return state.status != "running"
        return state.attempts > self._attempt

    def _end_what_is_over(self) -> None:
        # A horse that has written its run's end is given time to leave by itself.
        self._over_since_s = self._over_since_s or self._clock()
        if self._clock() - self._over_since_s > self._graces_s[StopSignal.CANCEL]:
            self._end("its run has ended, or goes on elsewhere")

    def _tell(self, order: StopSignal) -> None:
        if order not in self._told and self._send(order.value):
            self._told[order] = self._clock()

    def _end(self, reason: str) -> None:
        if self.killed_for is None and self._send(signal.SIGKILL):
            _log.warning("work horse killed", run_id=self._run_id, attempt=self._attempt, reason=reason)
            self.killed_for = reason

    def _send(self, number: int) -> bool:
        pid = self._horse_pid()
        if pid <= 0:  # 0 would mean every process of our group
            return False
        with contextlib.suppress(ProcessLookupError):
            self._kill(pid, number)
        return True
