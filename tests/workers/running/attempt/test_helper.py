"""Helpers of a run: they share its parts, and their failures do not affect it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from service.errors import Unavailable
from service.queueing.intervals import Intervals
from service.queueing.tallies import Tallies
from service.queueing.work_sharing import HelpQueue, Leases
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from tests.integration.running import wait_until
from tests.workers.running.yard import Yard
from workers.running.attempt.coordination import LocalCoordinator, RedisCoordinator, open_coordinator
from workers.running.attempt.helper import HelpedRun, help_with_run
from workers.running.attempt.work_tallies import WorkTallies
from workers.running.interface import RunStopped
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignal, StopSignals


def no_redis() -> Tallies:
    raise Unavailable("no Redis")


# --- with worker processes ---


def folder_of(yard: Yard, run_id: str) -> Path:
    return Path(yard.runs.get(run_id)[0].spec["folder"])


def parts(yard: Yard, run_id: str) -> dict[str, str]:
    """By part, the process id of the worker that did it."""
    return {path.name: path.read_text() for path in folder_of(yard, run_id).glob("part-*")}


def helpers(yard: Yard, run_id: str) -> dict[str, str]:
    """By process id of a helper, the first part that was available."""
    path = folder_of(yard, run_id) / "helpers.txt"
    return dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}


def share(yard: Yard, **spec: Any) -> str:
    return yard.submit("share", **{"parts": 20, "step_s": 0.1, **spec})


def test_an_idle_worker_does_some_of_the_parts(busy_yard: Yard) -> None:
    run_id = share(busy_yard)
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.metrics) == ("succeeded", 1, {"parts": 20.0})
    done = parts(busy_yard, run_id)
    assert len(done) == 20
    assert len(set(done.values())) == 2
    assert set(helpers(busy_yard, run_id)) & set(done.values())


@pytest.mark.parametrize("accident", ["deadly", "broken"])
def test_a_failing_helper_does_not_affect_the_run(busy_yard: Yard, accident: str) -> None:
    run_id = share(busy_yard, helper=accident, parts=10_000, step_s=0.02)
    wait_until(lambda: helpers(busy_yard, run_id), why=busy_yard.logs)
    [part] = helpers(busy_yard, run_id).values()
    # Another worker does the part. The next helper would fail as well, so none is requested.
    wait_until(lambda: part in parts(busy_yard, run_id), why=busy_yard.logs)
    wait_until(lambda: not all(worker.busy for worker in busy_yard.queue.workers()), why=busy_yard.logs)
    n_done = len(parts(busy_yard, run_id))
    wait_until(lambda: len(parts(busy_yard, run_id)) > n_done + 10, why=busy_yard.logs)
    assert len(helpers(busy_yard, run_id)) == 1
    state = busy_yard.state(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("running", 1, 0)
    busy_yard.runs.request_cancel(run_id)
    assert busy_yard.wait_for_end(run_id).status == "cancelled"


def test_a_helper_stops_when_a_run_waits(busy_yard: Yard) -> None:
    run_id = share(busy_yard, parts=10_000, step_s=0.02)
    wait_until(lambda: set(helpers(busy_yard, run_id)) & set(parts(busy_yard, run_id).values()), why=busy_yard.logs)
    other = busy_yard.count(steps=3)
    assert busy_yard.wait_for_end(other).status == "succeeded"
    assert busy_yard.state(run_id).status == "running"
    busy_yard.runs.request_cancel(run_id)
    assert busy_yard.wait_for_end(run_id).status == "cancelled"
    # Its helpers have stopped too.
    wait_until(lambda: not any(worker.busy for worker in busy_yard.queue.workers()), why=busy_yard.logs)


# --- without processes ---


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeQueue:
    """Accepts requests and leases, or is unreachable."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.withdrawn = 0
        self.is_away = False

    def request(self, run_id: str, *, n: int) -> int:
        self._reach()
        self.asked.append(n)
        return n

    def withdraw(self, run_id: str) -> None:
        self._reach()
        self.withdrawn += 1

    def has_waiting_runs(self) -> bool:
        self._reach()
        return True

    def acquire(self, part: str) -> bool:
        self._reach()
        return part != "taken"

    def available(self, parts: Any) -> list[str]:
        self._reach()
        return []

    def renew(self, part: str) -> None:
        self._reach()

    def release(self, part: str) -> None:
        self._reach()

    def _reach(self) -> None:
        if self.is_away:
            raise Unavailable("gone")


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coordinator(queue: FakeQueue, clock: Clock) -> RedisCoordinator:
    return RedisCoordinator(
        "run-a",
        help_queue=cast(HelpQueue, queue),
        leases=cast(Leases, queue),
        timing=Intervals(look_s=1.0),
        clock=clock,
    )


def test_helpers_are_requested_at_most_once_per_interval(
    coordinator: RedisCoordinator, queue: FakeQueue, clock: Clock
) -> None:
    assert [coordinator.request_helpers(2), coordinator.request_helpers(2)] == [2, 0]
    clock.now_s += 1.0
    assert coordinator.request_helpers(3) == 3
    assert queue.asked == [2, 3]
    coordinator.withdraw_requests()
    assert queue.withdrawn == 1


def test_without_requests_nothing_is_withdrawn(coordinator: RedisCoordinator, queue: FakeQueue) -> None:
    coordinator.request_helpers(0)
    coordinator.withdraw_requests()
    assert queue.withdrawn == 0


def test_without_redis_each_worker_continues_alone(
    coordinator: RedisCoordinator, queue: FakeQueue, clock: Clock
) -> None:
    with coordinator.lease("taken") as is_mine:
        assert not is_mine
    assert coordinator.runs_are_waiting()
    queue.is_away = True
    with coordinator.lease("taken") as is_mine:
        assert is_mine
    assert coordinator.unleased(["a", "b"]) == ["a", "b"]
    assert coordinator.request_helpers(2) == 0
    assert not coordinator.runs_are_waiting()
    coordinator.withdraw_requests()
    assert isinstance(open_coordinator("run-a", settings=Settings(), timing=Intervals()), LocalCoordinator)


def test_a_helper_stops_with_its_run(tmp_path: Path, clock: Clock) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    runs = RunStore(artifacts)
    record = runs.create("share", spec={})
    stop_signals = StopSignals()
    helped = HelpedRun(
        record,
        runs=runs,
        stop_signals=stop_signals,
        settings=Settings(),
        timing=Intervals(look_s=1.0),
        artifacts=artifacts,
        tallies=WorkTallies("share", open_tallies=no_redis),
        clock=clock,
    )
    helped.check()
    runs.request_cancel(record.id)
    helped.check()  # the state was read a moment ago
    clock.now_s += 1.0
    with pytest.raises(RunStopped):
        helped.check()
    stop_signals.received = StopSignal.SHUTDOWN
    with pytest.raises(RunStopped):
        helped.check()


def test_ended_or_unshareable_runs_get_no_help(tmp_path: Path) -> None:
    setup = WorkSetup(settings=Settings(home=str(tmp_path)), kinds={}, helpers={"share": "nowhere:nothing"})
    artifacts = ArtifactStore(setup.settings.home)
    runs = RunStore(artifacts)
    ended, lonely = runs.create("share", spec={}).id, runs.create("count", spec={}).id
    runs.request_cancel(ended)
    for run_id in (ended, lonely):
        help_with_run(run_id, setup=setup, stop_signals=StopSignals(), runs=runs, artifacts=artifacts)
