from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from service.errors import Unavailable
from service.queueing.intervals import Intervals
from service.queueing.queue import RunQueue
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from workers.running.pool.horse_monitor import HorseMonitor

HORSE = 4242
RUNNING = RunState(status="running", attempts=2)


@dataclass
class Scene:
    """A watch over attempt 2 whose surroundings are set by hand. sent: signals that reached the horse."""

    state: RunState | None = RUNNING
    now_s: float = 100.0
    stopping: bool = False
    horse: int = HORSE
    redis: bool = True
    sent: list[int] = field(default_factory=list)
    beats: list[tuple[str, int]] = field(default_factory=list)
    timing: Intervals = field(default_factory=lambda: Intervals(cancel_grace_s=2.0))
    attempt: int | None = 2

    def __post_init__(self) -> None:
        self.watch = HorseMonitor(
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
        self.watch.check()
        return self.sent


def test_a_run_that_goes_well_is_left_alone() -> None:
    assert Scene().look() == []


def test_a_cancel_is_passed_on_once_and_enforced_after_its_grace() -> None:
    scene = Scene(state=replace(RUNNING, cancel_requested=True))
    assert scene.look() == [signal.SIGUSR1]
    assert scene.look(after_s=1.9) == [signal.SIGUSR1]
    assert scene.look(after_s=0.2) == [signal.SIGUSR1, signal.SIGKILL]
    assert scene.look(after_s=9.0) == [signal.SIGUSR1, signal.SIGKILL]
    assert scene.watch.kill_reason == "it did not stop in time after a cancel signal"


def test_a_shutdown_has_its_own_grace_and_needs_no_store() -> None:
    scene = Scene(state=None, stopping=True)
    assert scene.look() == [signal.SIGTERM]
    assert scene.look(after_s=19.0) == [signal.SIGTERM]
    assert scene.look(after_s=2.0) == [signal.SIGTERM, signal.SIGKILL]


def test_a_cancel_during_a_shutdown_is_told_too() -> None:
    scene = Scene(stopping=True)
    scene.look()
    scene.state = replace(RUNNING, cancel_requested=True)
    assert scene.look() == [signal.SIGTERM, signal.SIGUSR1]


def test_orders_wait_for_a_horse_that_is_not_there_yet() -> None:
    scene = Scene(stopping=True, horse=0)
    assert scene.look() == []
    scene.horse = HORSE
    assert scene.look(after_s=99.0) == [signal.SIGTERM]


@pytest.mark.parametrize(
    "state", [replace(RUNNING, attempts=3), replace(RUNNING, status="failed"), replace(RUNNING, status="queued")]
)
def test_an_attempt_that_is_over_is_ended_after_a_while(state: RunState) -> None:
    scene = Scene(state=state)
    assert scene.look() == []
    assert scene.look(after_s=2.5) == [signal.SIGKILL]


def test_a_run_not_claimed_yet_is_not_over() -> None:
    scene = Scene(state=RunState(status="queued", attempts=1))
    scene.look()
    assert scene.look(after_s=99.0) == []


def test_signs_of_life_go_on_when_redis_is_back() -> None:
    scene = Scene()
    scene.watch.beat()
    scene.redis = False
    scene.watch.beat()
    scene.redis = True
    scene.watch.beat()
    assert scene.beats == [("run-a", 2)] * 2


def test_a_helper_is_no_sign_of_life_and_ends_with_the_run() -> None:
    scene = Scene(attempt=None)
    scene.watch.beat()
    assert scene.beats == []
    assert scene.look() == []
    scene.state = replace(RUNNING, attempts=5)  # whoever's attempt it is
    assert scene.look() == []
    scene.state = replace(RUNNING, status="queued")  # it may go on soon
    assert scene.look() == []
    scene.state = replace(RUNNING, status="succeeded")
    assert scene.look() == [signal.SIGUSR1]
    assert scene.look(after_s=2.1) == [signal.SIGUSR1, signal.SIGKILL]
