from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from service.errors import Unavailable
from service.queueing.queue import QUEUE, RunCounts, RunQueue
from service.queueing.reconciler import VANISHED, Reconciler
from service.store.artifacts.store import ArtifactStore
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


def test_nothing_is_changed_without_redis(tmp_path: Path) -> None:
    runs = RunStore(ArtifactStore(str(tmp_path)))
    run_id = runs.create("tune", spec={}).id
    runs.claim(run_id, worker="test")
    for _ in range(3):
        with pytest.raises(Unavailable):
            Reconciler(RunQueue.at("redis://127.0.0.1:1/0"), runs, max_attempts=3).reconcile()
    assert runs.get(run_id)[1].status == "running"
