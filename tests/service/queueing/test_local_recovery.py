from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.queueing.executions import Executions
from service.queueing.local_recovery import DIED, LocalRecovery
from service.queueing.queue import QUEUE, RunQueue
from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from service.store.runs.writer import StaleAttempt
from tests.service.queueing.redis_server import RedisServer

WORKER = 7


@dataclass
class Scene:
    """A worker process of which ``starts`` holds the start time while it is alive."""

    queue: RunQueue
    runs: RunStore
    redis: RedisServer
    starts: dict[int, str] = field(default_factory=lambda: {WORKER: "100"})

    def __post_init__(self) -> None:
        self.executions = Executions(self.redis.client, host="here", start_of=self.starts.get)
        self.recovery = LocalRecovery(self.queue, self.runs, executions=self.executions, max_attempts=3)

    def taken(self) -> str:
        """A run that the worker has taken from the queue, not claimed yet."""
        run_id = self.runs.create("tune", spec={}).id
        self.queue.enqueue(run_id, 1)
        self.redis.client.delete(f"rq:queue:{QUEUE}")
        self.executions.record(run_id, 1, pid=WORKER)
        self.queue.set_heartbeat(run_id, 1)
        return run_id

    def state(self, run_id: str) -> RunState:
        return self.runs.get(run_id)[1]


@pytest.fixture
def scene(tmp_path: Path, queue: RunQueue, redis_server: RedisServer) -> Scene:
    return Scene(queue, RunStore(ArtifactStore(str(tmp_path))), redis_server)


def test_the_run_of_a_dead_worker_is_queued_although_its_heartbeat_has_not_expired(scene: Scene) -> None:
    run_id = scene.taken()
    writer = scene.runs.claim(run_id, worker="test")
    assert scene.recovery.recover() == []
    assert scene.state(run_id).status == "running"
    scene.starts.clear()
    assert scene.recovery.recover() == [run_id]
    state = scene.state(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("queued", 1, 1)
    assert scene.queue.position(run_id) == 0
    assert not scene.queue.has_heartbeat(run_id)
    assert any(DIED in event.data.get("text", "") for event in scene.runs.events(run_id))
    # The dead attempt is fenced, and is not counted twice.
    writer.emit("log", {"level": "info", "text": "late"})
    with pytest.raises(StaleAttempt):
        writer.flush()
    assert scene.recovery.recover() == []
    assert scene.state(run_id).n_deaths == 1


def test_a_run_that_was_taken_but_not_claimed_is_queued_without_a_death(scene: Scene) -> None:
    run_id = scene.taken()
    scene.starts.clear()
    assert scene.queue.position(run_id) is None
    scene.recovery.recover()
    state = scene.state(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("queued", 0, 0)
    assert scene.queue.position(run_id) == 0


def test_a_later_attempt_elsewhere_is_not_changed(scene: Scene) -> None:
    run_id = scene.taken()
    scene.runs.claim(run_id, worker="test")
    scene.runs.note_death(run_id, attempt=1, reason="gone", max_attempts=3)
    scene.runs.claim(run_id, worker="elsewhere")
    scene.queue.set_heartbeat(run_id, 2)
    scene.starts.clear()
    scene.recovery.recover()
    assert (scene.state(run_id).status, scene.state(run_id).attempts) == ("running", 2)
    assert scene.queue.has_heartbeat(run_id)
    assert scene.executions.of_dead_workers() == []


def test_a_run_that_no_longer_exists_does_not_stop_the_recovery_of_others(scene: Scene) -> None:
    scene.executions.record("run-00000000000000000", 1, pid=WORKER)
    run_id = scene.taken()
    scene.starts.clear()
    scene.recovery.recover()
    assert scene.queue.position(run_id) == 0
    assert scene.executions.of_dead_workers() == []
