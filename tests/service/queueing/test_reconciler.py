from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.errors import Unavailable
from service.queueing.queue import QUEUE, RunCounts, RunQueue
from service.queueing.reconciler import VANISHED, Reconciler
from service.queueing.tallies import Series
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import LocalFiles
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from tests.service.queueing.redis_server import RedisServer


@dataclass
class Scene:
    queue: RunQueue
    runs: RunStore
    redis: RedisServer

    def look(self, times: int = 1) -> RunCounts | None:
        """Reconcile, each time as if the interval had passed."""
        census = None
        for _ in range(times):
            self.redis.client.delete("promptatlas:turn")
            census = Reconciler(self.queue, self.runs, max_attempts=3).reconcile()
        return census

    def queued(self) -> str:
        return self.runs.create("tune", spec={}).id

    def running(self) -> str:
        """A run that a worker has taken from the queue."""
        run_id = self.queued()
        self.claim(run_id)
        return run_id

    def claim(self, run_id: str) -> None:
        self.redis.client.delete(f"rq:queue:{QUEUE}")
        self.runs.claim(run_id, worker="test")

    def state(self, run_id: str) -> RunState:
        return self.runs.get(run_id)[1]


@pytest.fixture
def scene(tmp_path: Path, queue: RunQueue, redis_server: RedisServer) -> Scene:
    return Scene(queue, RunStore(ArtifactStore(str(tmp_path))), redis_server)


def test_queued_runs_without_a_job_are_queued_in_order(scene: Scene) -> None:
    first, second = scene.queued(), scene.queued()
    assert scene.look() == RunCounts(n_queued=2, n_running=0)
    assert scene.queue.positions() == {first: 0, second: 1}
    scene.redis.client.flushall()
    scene.look()
    assert scene.queue.positions() == {first: 0, second: 1}


def test_a_run_that_no_worker_took_is_queued_again_at_the_second_check(scene: Scene) -> None:
    run_id = scene.queued()
    scene.look()
    scene.redis.client.delete(f"rq:queue:{QUEUE}")
    scene.look()
    assert scene.queue.position(run_id) is None
    scene.look()
    assert scene.queue.position(run_id) == 0


def test_a_run_just_taken_by_a_worker_is_not_changed(scene: Scene) -> None:
    run_id = scene.queued()
    scene.look()
    scene.redis.client.delete(f"rq:queue:{QUEUE}")
    scene.queue.set_heartbeat(run_id, 1)
    scene.look(5)
    assert scene.queue.position(run_id) is None


def test_a_running_run_without_heartbeat_is_queued_at_the_second_check(scene: Scene) -> None:
    run_id = scene.running()
    assert scene.look() == RunCounts(n_queued=0, n_running=1)
    assert scene.state(run_id).status == "running"
    scene.look()
    state = scene.state(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("queued", 1, 1)
    assert scene.queue.has_job(run_id, 2)
    assert scene.queue.position(run_id) == 0
    tallied = scene.queue.tallies.read()
    assert tallied["run_attempts"] == [Series(labels=("tune", "died"), value=1.0)]
    assert tallied["runs_ended"] == []


def test_a_heartbeat_resets_the_missing_count(scene: Scene) -> None:
    run_id = scene.running()
    for _ in range(3):
        scene.queue.set_heartbeat(run_id, 1)
        scene.look()
        scene.queue.clear_heartbeat(run_id, 1)
        scene.look()
    assert scene.state(run_id).status == "running"


def test_an_emptied_redis_resets_the_missing_count(scene: Scene) -> None:
    run_id = scene.running()
    for _ in range(3):
        scene.look()
        scene.redis.client.flushall()
    assert scene.state(run_id).status == "running"


def test_a_run_fails_when_its_worker_has_died_too_often(scene: Scene) -> None:
    run_id = scene.running()
    scene.look(2)
    for _ in range(2):
        scene.claim(run_id)
        scene.look(2)
    state = scene.state(run_id)
    assert (state.status, state.attempts, state.error) == ("failed", 3, VANISHED)
    tallied = scene.queue.tallies.read()
    assert tallied["run_attempts"] == [Series(labels=("tune", "died"), value=3.0)]
    assert tallied["runs_ended"] == [Series(labels=("tune", "failed"), value=1.0)]
    assert tallied["run_seconds"][0].counts[-1] == 1
    assert scene.look() == RunCounts(n_queued=0, n_running=0)


def test_a_failure_reason_kept_in_redis_fails_the_run(scene: Scene) -> None:
    run_id = scene.running()
    scene.queue.store_failure_reason(run_id, 1, "The store could not be written: No space left on device.")
    scene.look(2)
    state = scene.state(run_id)
    assert (state.status, state.error) == ("failed", "The store could not be written: No space left on device.")


def test_a_run_that_dies_after_a_cancel_request_is_cancelled(scene: Scene) -> None:
    run_id = scene.running()
    scene.runs.request_cancel(run_id)
    scene.look(2)
    assert scene.state(run_id).status == "cancelled"


def test_one_of_many_reconcilers_reconciles(scene: Scene) -> None:
    scene.queued()
    reconcilers = [Reconciler(scene.queue, scene.runs, max_attempts=3) for _ in range(3)]
    assert [reconciler.reconcile() is None for reconciler in reconcilers] == [False, True, True]


CALL_S = 0.03
MAX_CHECKED = 10


class SlowFiles:
    """Files that need ``CALL_S`` of a fake clock for each key or listing."""

    def __init__(self, files: LocalFiles) -> None:
        self.now_s = 0.0
        self.n_calls = 0
        self._files = files

    def clock(self) -> float:
        return self.now_s

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        keys = list(keys)
        self._spend(len(keys))
        return self._files.read_many(keys)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self._spend(1)
            return getattr(self._files, name)(*args)

        return call

    def _spend(self, n_calls: int) -> None:
        self.n_calls += n_calls
        self.now_s += n_calls * CALL_S


@dataclass
class SlowScene(Scene):
    files: SlowFiles = field(default_factory=lambda: SlowFiles(LocalFiles("/nowhere")))

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(
            self.queue, self.runs, max_attempts=3, max_checked=MAX_CHECKED, clock=self.files.clock
        )

    def passing(self) -> tuple[int, float]:
        """Calls and seconds of one pass."""
        self.redis.client.delete("promptatlas:turn")
        n_calls, start_s = self.files.n_calls, self.files.now_s
        self.reconciler.reconcile()
        return self.files.n_calls - n_calls, self.files.now_s - start_s


@pytest.fixture
def slow(tmp_path: Path, queue: RunQueue, redis_server: RedisServer) -> SlowScene:
    """With the default intervals, which are shorter than a pass over all runs."""
    files = SlowFiles(LocalFiles(str(tmp_path)))
    runs = RunStore(ArtifactStore(str(tmp_path), files=files))
    return SlowScene(RunQueue.at(redis_server.url), runs, redis_server, files=files)


def test_runs_in_the_queue_and_live_runs_cost_a_pass_no_calls(slow: SlowScene) -> None:
    slow.queued()
    slow.passing()
    few, _ = slow.passing()
    for _ in range(3 * MAX_CHECKED):
        slow.queue.enqueue(slow.queued(), 1)
    live = slow.queued()
    slow.runs.claim(live, worker="test")
    slow.queue.set_heartbeat(live, 1)
    assert slow.passing()[0] == few
    assert slow.queue.counts() == RunCounts(n_queued=3 * MAX_CHECKED + 1, n_running=1)


def test_an_emptied_redis_is_filled_in_bounded_passes_and_dead_runs_are_found(slow: SlowScene) -> None:
    runs = [slow.queued() for _ in range(2 * MAX_CHECKED + 5)]
    dead = slow.running()  # the newest one, so that it is checked last
    positions = []
    for _ in range(3):
        n_calls, took_s = slow.passing()
        assert n_calls <= 10 * MAX_CHECKED
        positions.append(len(slow.queue.positions()))
        counts = slow.queue.counts()
        assert counts is not None
        assert counts.n_queued + counts.n_running == len(runs) + 1
    assert positions == [MAX_CHECKED, 2 * MAX_CHECKED, len(runs)]
    # Its suspicion outlives the wait for the next pass, and that pass, if it takes as long.
    assert took_s > 0
    life_s = slow.redis.client.pttl(f"promptatlas:missing:{dead}") / 1000
    assert life_s > slow.queue.timing.reconcile_s + 2 * took_s
    slow.passing()
    assert slow.state(dead).n_deaths == 1


def test_suspects_of_the_last_pass_are_checked_before_all_others(slow: SlowScene) -> None:
    runs = [slow.running() for _ in range(MAX_CHECKED + 3)]
    deaths = []
    for _ in range(4):
        slow.passing()
        deaths.append(sum(slow.state(run_id).n_deaths for run_id in runs))
    assert deaths == [0, MAX_CHECKED, MAX_CHECKED, MAX_CHECKED + 3]


def test_nothing_is_changed_without_redis(tmp_path: Path) -> None:
    runs = RunStore(ArtifactStore(str(tmp_path)))
    run_id = runs.create("tune", spec={}).id
    runs.claim(run_id, worker="test")
    for _ in range(3):
        with pytest.raises(Unavailable):
            Reconciler(RunQueue.at("redis://127.0.0.1:1/0"), runs, max_attempts=3).reconcile()
    assert runs.get(run_id)[1].status == "running"
