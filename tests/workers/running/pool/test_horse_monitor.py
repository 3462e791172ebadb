from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from service.errors import NotFound, Unavailable
from service.queueing.intervals import Intervals
from service.queueing.queue import RunQueue
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from workers.running.pool.horse_monitor import HorseMonitor

HORSE = 4242
RUNNING = RunState(status="running", attempts=2)


@dataclass
class Scene:
    """A monitor of attempt 2 with fake surroundings. sent: signals that the work horse received."""

    state: RunState | None = RUNNING
    now_s: float = 100.0
    stopping: bool = False
    horse: int = HORSE
    redis: bool = True
    sent: list[int] = field(default_factory=list)
    beats: list[tuple[str, int]] = field(default_factory=list)
    timing: Intervals = field(default_factory=lambda: Intervals(cancel_grace_s=2.0))
    attempt: int | None = 2
    is_deleted: bool = False

    def __post_init__(self) -> None:
        self.monitor = HorseMonitor(
            "run-a",
            self.attempt,
            queue=cast(RunQueue, self),
            runs=cast(RunStore, self),
            shutdown_grace_s=20.0,
            horse_pid=lambda: self.horse,
            is_stopping=lambda: self.stopping,
            clock=lambda: self.now_s,
            kill=self._kill,
        )

    def get(self, run_id: str) -> tuple[Any, RunState]:
        if self.is_deleted:
            raise NotFound("There is no such run.")
        if self.state is None:
            raise Unavailable("gone")
        return None, self.state

    def set_heartbeat(self, run_id: str, attempt: int) -> None:
        if not self.redis:
            raise Unavailable("gone")
        self.beats.append((run_id, attempt))

    def _kill(self, pid: int, number: int) -> None:
        assert pid == HORSE
        self.sent.append(number)

    def look(self, *, after_s: float = 0.0) -> list[int]:
        self.now_s += after_s
        self.monitor.check()
        return self.sent


def test_a_healthy_run_receives_no_signal() -> None:
    assert Scene().look() == []


def test_a_cancel_is_sent_once_and_enforced_after_its_grace_period() -> None:
    scene = Scene(state=replace(RUNNING, cancel_requested=True))
    assert scene.look() == [signal.SIGUSR1]
    assert scene.look(after_s=1.9) == [signal.SIGUSR1]
    assert scene.look(after_s=0.2) == [signal.SIGUSR1, signal.SIGKILL]
    assert scene.look(after_s=9.0) == [signal.SIGUSR1, signal.SIGKILL]
    assert scene.monitor.kill_reason == "it did not stop in time after a cancel signal"


def test_a_shutdown_has_its_own_grace_period_and_needs_no_store() -> None:
    scene = Scene(state=None, stopping=True)
    assert scene.look() == [signal.SIGTERM]
    assert scene.look(after_s=19.0) == [signal.SIGTERM]
    assert scene.look(after_s=2.0) == [signal.SIGTERM, signal.SIGKILL]


def test_a_cancel_during_a_shutdown_is_sent_too() -> None:
    scene = Scene(stopping=True)
    scene.look()
    scene.state = replace(RUNNING, cancel_requested=True)
    assert scene.look() == [signal.SIGTERM, signal.SIGUSR1]


def test_signals_wait_for_the_work_horse_to_start() -> None:
    scene = Scene(stopping=True, horse=0)
    assert scene.look() == []
    scene.horse = HORSE
    assert scene.look(after_s=99.0) == [signal.SIGTERM]


@pytest.mark.parametrize(
    "state", [replace(RUNNING, attempts=3), replace(RUNNING, status="failed"), replace(RUNNING, status="queued")]
)
def test_the_work_horse_of_an_ended_attempt_is_killed_after_the_grace_period(state: RunState) -> None:
    scene = Scene(state=state)
    assert scene.look() == []
    assert scene.look(after_s=2.5) == [signal.SIGKILL]


def test_the_work_horse_of_a_deleted_run_is_killed_after_the_grace_period() -> None:
    scene = Scene(is_deleted=True)
    assert scene.look() == []
    assert scene.look(after_s=2.5) == [signal.SIGKILL]


def test_a_run_that_is_not_claimed_yet_has_not_ended() -> None:
    scene = Scene(state=RunState(status="queued", attempts=1))
    scene.look()
    assert scene.look(after_s=99.0) == []


def test_heartbeats_continue_when_redis_is_back() -> None:
    scene = Scene()
    scene.monitor.beat()
    scene.redis = False
    scene.monitor.beat()
    scene.redis = True
    scene.monitor.beat()
    assert scene.beats == [("run-a", 2)] * 2


def test_a_helper_sends_no_heartbeat_and_ends_with_the_run() -> None:
    scene = Scene(attempt=None)
    scene.monitor.beat()
    assert scene.beats == []
    assert scene.look() == []
    scene.state = replace(RUNNING, attempts=5)  # of any worker
    assert scene.look() == []
    scene.state = replace(RUNNING, status="queued")  # it may continue soon
    assert scene.look() == []
    scene.state = replace(RUNNING, status="succeeded")
    assert scene.look() == [signal.SIGUSR1]
    assert scene.look(after_s=2.1) == [signal.SIGUSR1, signal.SIGKILL]
