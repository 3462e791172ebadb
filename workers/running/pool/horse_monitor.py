"""Monitor of a work horse: sends heartbeats for its run, passes on stop signals, kills it if it does not stop.

It runs in the worker's process, so that a run that holds its interpreter lock for long neither loses its heartbeat nor
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

from service.errors import AtlasError, NotFound, Unavailable
from service.queueing.queue import RunQueue
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from workers.running.periodic import PeriodicThread
from workers.running.stop_signals import StopSignal

_log = structlog.get_logger(__name__)


class HorseMonitor:
    """Context manager that monitors one attempt.

    Args:
        run_id: of the run.
        attempt: number of the attempt; None for a helper, which sends no heartbeats.
        queue: receives heartbeats.
        runs: holds the state of the run.
        shutdown_grace_s: how long a run may take to save a checkpoint when the worker shuts down.
        horse_pid: returns the process id of the work horse; 0 before its start and after its end.
        is_stopping: returns whether the worker shuts down.
        clock: monotonic seconds.
        kill: sends a signal to a process.

    Attributes:
        kill_reason: why the monitor has killed the work horse; None if it has not.
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
        self._sent_at_s: dict[StopSignal, float] = {}
        self._ended_since_s: float | None = None
        self._threads = contextlib.ExitStack()
        self.kill_reason: str | None = None

    def __enter__(self) -> HorseMonitor:
        timing = self._queue.timing
        self._threads.enter_context(
            PeriodicThread(self.beat, interval_s=timing.beat_s, name="send heartbeats of a run")
        )
        self._threads.enter_context(
            PeriodicThread(self.check, interval_s=timing.look_s, name="check whether a run must stop")
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close()
        if self._attempt is not None:
            with contextlib.suppress(Unavailable):
                self._queue.clear_heartbeat(self._run_id, self._attempt)

    def beat(self) -> None:
        """Send a heartbeat. While Redis is unreachable, no process checks heartbeats."""
        if self._attempt is not None:
            with contextlib.suppress(Unavailable):
                self._queue.set_heartbeat(self._run_id, self._attempt)

    def check(self) -> None:
        """Send new stop signals, and kill the work horse if it has not followed one in time."""
        state = self._state()
        if state is not None and self._has_ended(state):
            self._kill_after_grace()
        if self._is_stopping():
            self._send_once(StopSignal.SHUTDOWN)
        if state is not None and (state.cancel_requested or (self._attempt is None and state.has_ended)):
            self._send_once(StopSignal.CANCEL)
        for stop_signal, sent_at_s in self._sent_at_s.items():
            if self._clock() - sent_at_s > self._graces_s[stop_signal]:
                self._kill_horse(f"it did not stop in time after a {stop_signal.name.lower()} signal")

    def _state(self) -> RunState | None:
        try:
            return self._runs.get(self._run_id)[1]
        except NotFound:  # deleted, after another attempt had ended it
            self._kill_after_grace()
            return None
        except AtlasError as error:
            _log.warning("state of a run cannot be read at the moment", run_id=self._run_id, reason=error.detail)
            return None

    def _has_ended(self, state: RunState) -> bool:
        if self._attempt is None:
            return state.has_ended
        if state.attempts == self._attempt:
            return state.status != "running"
        return state.attempts > self._attempt

    def _kill_after_grace(self) -> None:
        # A work horse that has recorded the end of its run gets time to exit.
        self._ended_since_s = self._ended_since_s or self._clock()
        if self._clock() - self._ended_since_s > self._graces_s[StopSignal.CANCEL]:
            self._kill_horse("its run has ended, or another attempt has replaced it")

    def _send_once(self, stop_signal: StopSignal) -> None:
        if stop_signal not in self._sent_at_s and self._send(stop_signal.value):
            self._sent_at_s[stop_signal] = self._clock()

    def _kill_horse(self, reason: str) -> None:
        if self.kill_reason is None and self._send(signal.SIGKILL):
            _log.warning("work horse killed", run_id=self._run_id, attempt=self._attempt, reason=reason)
            self.kill_reason = reason

    def _send(self, number: int) -> bool:
        pid = self._horse_pid()
        if pid <= 0:  # 0 would mean every process of our group
            return False
        with contextlib.suppress(ProcessLookupError):
            self._kill(pid, number)
        return True
