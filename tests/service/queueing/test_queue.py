from __future__ import annotations

from datetime import timedelta

import pytest
from redis import Redis
from rq import Queue

from service.errors import Unavailable
from service.queueing.queue import QUEUE, RunCounts, RunQueue
from service.store.artifacts.clock import utc_now, write_time
from tests.integration.running import wait_until
from tests.service.queueing.redis_server import RedisServer


def test_runs_are_queued_in_order_and_once(queue: RunQueue) -> None:
    for run_id in ("run-a", "run-b", "run-a"):
        queue.enqueue(run_id, 1)
    assert queue.positions() == {"run-a": 0, "run-b": 1}
    assert queue.position("run-b") == 1
    assert queue.position("run-c") is None
    assert queue.has_job("run-a", 1)
    assert not queue.has_job("run-a", 2)


def test_what_is_queued_is_a_name_and_json(queue: RunQueue, redis_server: RedisServer) -> None:
    queue.enqueue("run-a", 3)
    (job,) = Queue(QUEUE, connection=redis_server.client, serializer="json").jobs
    assert (job.func_name, job.args, job.timeout) == ("workers.jobs.run", ["run-a", 3], -1)


def test_a_run_taken_from_the_queue_keeps_its_job_until_it_is_requeued(
    queue: RunQueue, redis_server: RedisServer
) -> None:
    queue.enqueue("run-a", 1)
    redis_server.client.delete(f"rq:queue:{QUEUE}")  # as if a worker had taken it and died
    queue.enqueue("run-a", 1)
    assert queue.position("run-a") is None
    queue.requeue("run-a", 1)
    assert queue.position("run-a") == 0


def test_discarded_runs_leave_no_gap(queue: RunQueue) -> None:
    for run_id in ("run-a", "run-b"):
        queue.enqueue(run_id, 1)
    queue.discard("run-a")
    queue.discard("run-c")
    assert queue.positions() == {"run-b": 0}
    assert not queue.has_job("run-a", 1)


def test_a_heartbeat_is_cleared_only_by_its_own_attempt(queue: RunQueue) -> None:
    assert not queue.has_heartbeat("run-a")
    queue.set_heartbeat("run-a", 2)
    queue.clear_heartbeat("run-a", 1)
    assert queue.has_heartbeat("run-a")
    queue.clear_heartbeat("run-a", 2)
    assert not queue.has_heartbeat("run-a")


def test_heartbeats_and_missing_counts_expire(queue: RunQueue, redis_server: RedisServer) -> None:
    queue.set_heartbeat("run-a", 1)
    queue.count_missing("run-a", lifetime_s=1800)
    client: Redis = redis_server.client
    assert all(0 < client.pttl(key) <= 1_800_000 for key in client.keys("promptatlas:*"))


def test_missing_counts_increase_until_they_are_reset(queue: RunQueue) -> None:
    assert [queue.count_missing("run-a", lifetime_s=60) for _ in range(3)] == [1, 2, 3]
    assert queue.missing(["run-a", "run-b"]) == {"run-a"}
    queue.reset_missing(["run-a", "run-b"])
    assert queue.missing(["run-a", "run-b"]) == set()
    assert queue.count_missing("run-a", lifetime_s=60) == 1


def test_a_failure_reason_belongs_to_one_attempt(queue: RunQueue) -> None:
    queue.store_failure_reason("run-a", 1, "no room")
    assert queue.failure_reason("run-a", 1) == "no room"
    assert queue.failure_reason("run-a", 2) is None


def test_one_process_acquires_the_turn_and_all_read_the_counts(queue: RunQueue) -> None:
    assert [queue.acquire_turn() for _ in range(3)] == [True, False, False]
    assert queue.counts() is None
    queue.store_counts(RunCounts(n_queued=2, n_running=1), lifetime_s=60)
    assert queue.counts() == RunCounts(n_queued=2, n_running=1)


def test_a_turn_ends_with_its_interval_however_long_it_took(queue: RunQueue, redis_server: RedisServer) -> None:
    client: Redis = redis_server.client
    assert queue.acquire_turn()
    assert client.pttl("promptatlas:turn") > 1_700_000  # three intervals of 600 seconds
    queue.end_turn(after_s=100)
    assert 430_000 < client.pttl("promptatlas:turn") <= 440_000
    queue.renew_turn()
    assert client.pttl("promptatlas:turn") > 1_700_000
    queue.end_turn(after_s=1000)
    wait_until(lambda: queue.acquire_turn())


def test_live_runs_are_those_with_a_heartbeat(queue: RunQueue) -> None:
    queue.set_heartbeat("run-a", 1)
    queue.set_heartbeat("run-c", 1)
    assert queue.alive(["run-a", "run-b"]) == {"run-a"}
    assert queue.alive([]) == set()


def test_workers_are_those_with_a_recent_heartbeat(queue: RunQueue, redis_server: RedisServer) -> None:
    client: Redis = redis_server.client
    now, long_ago = (write_time(utc_now() - timedelta(seconds=age_s)) for age_s in (1, 300))
    for name, fields in {
        "busy": {"birth": long_ago, "last_heartbeat": now, "hostname": "here", "state": "busy"},
        "silent": {"birth": long_ago, "last_heartbeat": long_ago, "hostname": "here"},
        "dead": {"birth": long_ago, "last_heartbeat": now, "death": now},
        "forgotten": {"last_heartbeat": now},
    }.items():
        client.sadd(f"rq:workers:{QUEUE}", f"rq:worker:{name}")
        for field, value in fields.items():
            client.hset(f"rq:worker:{name}", field, value)
    client.sadd(f"rq:workers:{QUEUE}", "rq:worker:gone")
    (worker,) = queue.workers()
    assert (worker.name, worker.hostname, worker.busy) == ("busy", "here", True)


def test_an_unreachable_redis_is_unavailable() -> None:
    lost = RunQueue.at("redis://127.0.0.1:1/0")
    for action in (lost.ping, lost.positions, lost.workers, lambda: lost.enqueue("run-a", 1)):
        with pytest.raises(Unavailable, match="queue of runs"):
            action()
