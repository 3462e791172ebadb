"""Supervisor in the main process: starts the other processes, restarts those that die, stops all of them at the end.

The main process has one thread and imports no large libraries, so that it can fork safely and is unlikely to fail.
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
    """The part of the interface of ``multiprocessing``'s processes that the supervisor uses."""

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
    """One supervised process.

    launch: starts it, given its generation (1, one more for each replacement).
    clean: removes the files of a dead generation.
    fatal_exits: exit statuses of the first generation that end the whole service.
    stop_s: time between SIGTERM and SIGKILL.
    stops_early: it receives SIGTERM as soon as the service stops, not after the members before it have ended.
    """

    name: str
    launch: Callable[[int], Process]
    clean: Callable[[int], None] = _nothing
    fatal_exits: frozenset[int] = field(default_factory=frozenset)
    stop_s: float = _KILL_AFTER_S
    stops_early: bool = False


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

    def handle_exit(self) -> int:
        """Clean up after a dead process and schedule its replacement; returns the exit status."""
        assert self.process is not None
        self.process.join()
        status = self.process.exitcode or 0
        self.process.close()
        self.process = None
        self.member.clean(self.generation)
        steady = self._clock() - self._started_at_s > _STEADY_S
        self._n_quick_exits = 0 if steady else self._n_quick_exits + 1
        # The first replacement starts at once, later ones after increasing delays.
        delay_s = 0.0 if self._n_quick_exits <= 1 else min(2.0 ** (self._n_quick_exits - 2), _MAX_BACKOFF_S)
        self.start_at_s = self._clock() + delay_s
        _log.warning("process ended", process=self.member.name, status=status, restart_in_s=delay_s)
        return status


class Supervisor:
    """Runs its members until SIGTERM or SIGINT. Members stop in the given order; a second signal kills them at once.

    ``on_stop`` is called before the first one is stopped, to close resources that they share.
    """

    def __init__(
        self, members: Sequence[Member], *, on_stop: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_stop = on_stop
        self._clock = clock
        self._running = [_Running(member, clock=clock) for member in members]
        self._n_signals = 0

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit status of the service."""
        with self._signals() as wakeup:
            try:
                status = self._watch(wakeup)
                self._on_stop()
                # A stop by signal has received one already; a second one kills. After a fatal exit the first one kills.
                self._stop(wakeup, max_signals=2 if status == 0 else 1)
            finally:
                self._kill()
        return status

    def _watch(self, wakeup: socket.socket) -> int:
        while not self._n_signals:
            for running in self._running:
                if running.process is None and running.start_at_s <= self._clock():
                    running.start()
            self._wait(wakeup, self._running, until_s=self._next_start_s())
            for running in self._dead():
                first = running.generation == 1
                status = running.handle_exit()
                if first and status in running.member.fatal_exits:
                    return 1
        return 0

    def _stop(self, wakeup: socket.socket, *, max_signals: int) -> None:
        for running in self._running:
            if running.process is not None and running.member.stops_early:
                running.process.terminate()
        for running in self._running:
            if running.process is None:
                continue
            if not running.member.stops_early:
                running.process.terminate()
            kill_at_s = self._clock() + running.member.stop_s
            while running.process.is_alive() and self._clock() < kill_at_s and self._n_signals < max_signals:
                self._wait(wakeup, [running], until_s=kill_at_s)

    def _kill(self) -> None:
        for running in self._running:
            if running.process is not None:
                running.process.kill()
                running.process.join()

    def _dead(self) -> list[_Running]:
        return [running for running in self._running if running.process and not running.process.is_alive()]

    def _next_start_s(self) -> float | None:
        return min((running.start_at_s for running in self._running if running.process is None), default=None)

    def _wait(self, wakeup: socket.socket, members: Sequence[_Running], *, until_s: float | None) -> None:
        sentinels = [running.process.sentinel for running in members if running.process is not None]
        timeout_s = None if until_s is None else max(0.0, until_s - self._clock())
        if wakeup in wait([wakeup, *sentinels], timeout_s):
            with contextlib.suppress(BlockingIOError):
                wakeup.recv(64)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        wakeup, sender = socket.socketpair()
        wakeup.setblocking(False)
        sender.setblocking(False)
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        before_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            yield wakeup
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            wakeup.close()
            sender.close()

    def _on_signal(self, number: int, _frame: object) -> None:
        self._n_signals += 1
        _log.info("stopping" if self._n_signals == 1 else "stopping now", signal=signal.Signals(number).name)
