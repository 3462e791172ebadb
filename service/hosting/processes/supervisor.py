"""The main process: starts the others, replaces those that die, and takes all of them along when it ends.

It does nothing else, has one thread and loads nothing heavy, so that it can fork safely and hardly ever fails itself.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)

_STEADY_S = 30.0
_MAX_BACKOFF_S = 30.0
_KILL_AFTER_S = 5.0


class Process(Protocol):
    """What the supervisor needs of a process: a part of ``multiprocessing``'s."""

    @property
    def pid(self) -> int | None: ...
    @property
    def sentinel(self) -> int: ...
    @property
    def exitcode(self) -> int | None: ...
    def is_alive(self) -> bool: ...
    def join(self) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


def _nothing(generation: int) -> None:
    """Default of :attr:`Member.clean`."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One process of the family.

    launch: starts it, given its generation (1, then one more for each replacement).
    clean: removes what a dead generation left.
    fatal_exits: exit statuses of the first generation after which the whole service gives up.
    stop_s: how long it may take over SIGTERM before it is killed.
    told_first: SIGTERM comes as soon as the family stops, not only in its turn; what it does about it runs beside the others.
    """

    name: str
    launch: Callable[[int], Process]
    clean: Callable[[int], None] = _nothing
    fatal_exits: frozenset[int] = field(default_factory=frozenset)
    stop_s: float = _KILL_AFTER_S
    told_first: bool = False


class _Running:
    def __init__(self, member: Member, *, clock: Callable[[], float]) -> None:
        self.member = member
        self.generation = 0
        self.process: Process | None = None
        self.start_at_s = clock()
        self._clock = clock
        self._started_at_s = 0.0
        self._n_quick_exits = 0

    def start(self) -> None:
        self.generation += 1
        self._started_at_s = self._clock()
        self.process = self.member.launch(self.generation)
        _log.info("process started", process=self.member.name, pid=self.process.pid, generation=self.generation)

    def bury(self) -> int:
        """Take leave of a dead process and set when the next one starts; returns the exit status."""
        assert self.process is not None
        self.process.join()
        status = self.process.exitcode or 0
        self.process.close()
        self.process = None
        self.member.clean(self.generation)
        steady = self._clock() - self._started_at_s > _STEADY_S
        self._n_quick_exits = 0 if steady else self._n_quick_exits + 1
        # The first replacement comes at once; a process that dies again and again is given time.
        delay_s = 0.0 if self._n_quick_exits <= 1 else min(2.0 ** (self._n_quick_exits - 2), _MAX_BACKOFF_S)
        self.start_at_s = self._clock() + delay_s
        _log.warning("process ended", process=self.member.name, status=status, restart_in_s=delay_s)
        return status


class Supervisor:
    """Runs the family until SIGTERM or SIGINT. Members stop in the order given; a second signal kills them at once.

    ``on_stop`` is called before the first is stopped, to let go of what they share.
    """

    def __init__(
        self, members: Sequence[Member], *, on_stop: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_stop = on_stop
        self._clock = clock
        self._running = [_Running(member, clock=clock) for member in members]
        self._n_signals = 0

    def run(self) -> int:
        """Run until told to stop; returns the exit status of the service."""
        with self._signals() as alarm:
            try:
                status = self._watch(alarm)
                self._on_stop()
                # The signal that stops a service is its first; one that has given up itself needs none.
                self._stop(alarm, patience=2 if status == 0 else 1)
            finally:
                self._kill()
        return status

    def _watch(self, alarm: socket.socket) -> int:
        while not self._n_signals:
            for running in self._running:
                if running.process is None and running.start_at_s <= self._clock():
                    running.start()
            self._wait(alarm, self._running, until_s=self._next_start_s())
            for running in self._dead():
                first = running.generation == 1
                status = running.bury()
                if first and status in running.member.fatal_exits:
                    return 1
        return 0

    def _stop(self, alarm: socket.socket, *, patience: int) -> None:
        for running in self._running:
            if running.process is not None and running.member.told_first:
                running.process.terminate()
        for running in self._running:
            if running.process is None:
                continue
            if not running.member.told_first:
                running.process.terminate()
            give_up_s = self._clock() + running.member.stop_s
            while running.process.is_alive() and self._clock() < give_up_s and self._n_signals < patience:
                self._wait(alarm, [running], until_s=give_up_s)

    def _kill(self) -> None:
        for running in self._running:
            if running.process is not None:
                running.process.kill()
                running.process.join()

    def _dead(self) -> list[_Running]:
        return [running for running in self._running if running.process and not running.process.is_alive()]

    def _next_start_s(self) -> float | None:
        return min((running.start_at_s for running in self._running if running.process is None), default=None)

    def _wait(self, alarm: socket.socket, who: Sequence[_Running], *, until_s: float | None) -> None:
        sentinels = [running.process.sentinel for running in who if running.process is not None]
        timeout_s = None if until_s is None else max(0.0, until_s - self._clock())
        if alarm in wait([alarm, *sentinels], timeout_s):
            with contextlib.suppress(BlockingIOError):
                alarm.recv(64)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        alarm, bell = socket.socketpair()
        alarm.setblocking(False)
        bell.setblocking(False)
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        before_fd = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        try:
            yield alarm
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            alarm.close()
            bell.close()

    def _note(self, number: int, _frame: object) -> None:
        self._n_signals += 1
        _log.info("stopping" if self._n_signals == 1 else "stopping now", signal=signal.Signals(number).name)
