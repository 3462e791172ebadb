from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from service.errors import Unavailable
from service.queueing.intervals import Intervals
from service.queueing.queue import QUEUE, RunQueue
from service.queueing.work_sharing import HELP_JOB, HELP_QUEUE, HelpQueue, Leases
from service.store.artifacts.clock import utc_now, write_time
from tests.service.queueing.redis_server import RedisServer

LONG = Intervals(alive_s=600, reconcile_s=600)


@pytest.fixture
def help_queue(queue: RunQueue, redis_server: RedisServer) -> HelpQueue:
    return HelpQueue(redis_server.client, timing=LONG)


def seat(client: Redis, name: str, *, busy: bool) -> None:
    """A worker in the form of RQ's records."""
    key = f"rq:worker:{name}"
    fields = {
        "birth": write_time(utc_now()),
        "last_heartbeat": write_time(utc_now()),
        "state": "busy" if busy else "idle",
    }
    client.hset(key, mapping=fields)  # type: ignore[arg-type]
    client.sadd(WORKERS_BY_QUEUE_KEY % QUEUE, key)


def jobs(client: Redis) -> list[tuple[str, list[str]]]:
    return [(job.func_name, list(job.args)) for job in Queue(HELP_QUEUE, connection=client, serializer="json").jobs]


def test_idle_workers_are_requested_as_helpers(help_queue: HelpQueue, redis_server: RedisServer) -> None:
    client = redis_server.client
    assert help_queue.request("run-a", n=3) == 0
    for name, busy in (("a", True), ("b", False), ("c", False)):
        seat(client, name, busy=busy)
    assert help_queue.request("run-a", n=0) == 0
    assert help_queue.request("run-a", n=3) == 2
    assert jobs(client) == [(HELP_JOB, ["run-a"])] * 2
    # While these requests wait, no others are made, for any run.
    client.delete("promptatlas:asked")
    assert help_queue.request("run-b", n=1) == 0
    help_queue.withdraw("run-b")
    assert len(jobs(client)) == 2
    help_queue.withdraw("run-a")
    assert jobs(client) == []
    assert help_queue.request("run-b", n=1) == 1
    # A worker that has just taken a request still appears idle.
    help_queue.withdraw("run-b")
    assert help_queue.request("run-b", n=1) == 0


def test_no_helper_is_requested_while_a_run_waits(
    help_queue: HelpQueue, queue: RunQueue, redis_server: RedisServer
) -> None:
    seat(redis_server.client, "a", busy=False)
    assert not help_queue.has_waiting_runs()
    queue.enqueue("run-b", 1)
    assert help_queue.has_waiting_runs()
    assert help_queue.request("run-a", n=1) == 0


def test_no_helper_is_requested_soon_after_a_decline(help_queue: HelpQueue, redis_server: RedisServer) -> None:
    seat(redis_server.client, "a", busy=False)
    assert help_queue.request("run-a", n=1) == 1
    help_queue.decline("run-a")
    assert jobs(redis_server.client) == []
    redis_server.client.delete("promptatlas:asked")
    assert help_queue.request("run-a", n=1) == 0
    assert 0 < redis_server.client.ttl("promptatlas:declined:run-a") <= 300
    assert help_queue.request("run-b", n=1) == 1


def test_a_part_has_one_holder(queue: RunQueue, redis_server: RedisServer) -> None:
    mine, theirs = (Leases(redis_server.client, run_id="run-a", timing=LONG) for _ in range(2))
    other_run = Leases(redis_server.client, run_id="run-b", timing=LONG)
    assert mine.acquire("1")
    assert mine.acquire("1")
    assert not theirs.acquire("1")
    assert other_run.acquire("1")
    assert theirs.available(["0", "1", "2"]) == ["0", "2"]
    assert theirs.available([]) == []
    theirs.release("1")
    assert not theirs.acquire("1")
    mine.release("1")
    assert theirs.acquire("1")


def test_an_expired_lease_makes_its_part_available(queue: RunQueue, redis_server: RedisServer) -> None:
    mine, theirs = (Leases(redis_server.client, run_id="run-a", timing=LONG) for _ in range(2))
    assert mine.acquire("1")
    key = "promptatlas:part:run-a:1"
    redis_server.client.pexpire(key, 100_000)
    mine.renew("1")
    assert redis_server.client.pttl(key) > 500_000
    redis_server.client.delete(key)  # as if it had expired
    assert theirs.acquire("1")
    mine.renew("1")
    mine.release("1")
    assert not mine.acquire("1")
    # Renewing creates a lease again that Redis has lost.
    redis_server.client.delete(key)
    theirs.renew("1")
    assert not mine.acquire("1")


def test_without_redis_everything_is_unavailable(tmp_path: Path) -> None:
    client = Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), retries=0))
    help_queue, leases = HelpQueue(client, timing=LONG), Leases(client, run_id="run-a", timing=LONG)
    for call in (
        lambda: help_queue.request("run-a", n=1),
        lambda: help_queue.withdraw("run-a"),
        lambda: help_queue.decline("run-a"),
        help_queue.has_waiting_runs,
        lambda: leases.acquire("1"),
        lambda: leases.renew("1"),
        lambda: leases.available(["1"]),
    ):
        with pytest.raises(Unavailable):
            call()
