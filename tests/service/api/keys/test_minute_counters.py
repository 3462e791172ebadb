from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import fakeredis
import pytest
from redis.asyncio import ConnectionPool
from structlog.testing import capture_logs

from service.api.keys.minute_counters import MinuteCounters
from tests.service.queueing.redis_server import RedisServer

Result = TypeVar("Result")


class Times:
    """Clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.now_s, self.monotonic_s = 60 * 1000.0 + 20, 5.0

    def counters(self, pool: ConnectionPool | None) -> MinuteCounters:
        return MinuteCounters(pool, now=lambda: self.now_s, clock=lambda: self.monotonic_s)


@pytest.fixture
def times() -> Times:
    return Times()


def fake_pool(server: fakeredis.FakeServer) -> ConnectionPool:
    pool: ConnectionPool = fakeredis.FakeAsyncRedis(server=server).connection_pool
    return pool


def run(test: Callable[[], Awaitable[Result]]) -> Result:
    async def body() -> Result:
        return await test()

    return asyncio.run(body())


def test_several_processes_count_together_until_the_minute_ends(times: Times) -> None:
    async def test() -> None:
        server = fakeredis.FakeServer()
        one, two = times.counters(fake_pool(server)), times.counters(fake_pool(server))
        assert [(await one.add("a", 3)).total, (await two.add("a", 4)).total] == [3, 7]
        assert (await two.add("b", 1)).total == 1
        assert one.left_s == 40
        times.now_s += 40
        assert (await one.add("a", 2)).total == 2

    run(test)


def test_a_correction_counts_in_the_minute_of_its_entry(times: Times) -> None:
    async def test() -> None:
        counters = times.counters(fake_pool(fakeredis.FakeServer()))
        entry = await counters.add("a", 100)
        assert (await counters.correct(entry, -60)).total == 40
        times.now_s += 60
        await counters.add("a", 1)
        assert (await counters.correct(entry, -10)).total == 30
        assert (await counters.add("a", 1)).total == 2

    run(test)


def test_without_redis_the_process_counts_for_itself(times: Times) -> None:
    async def test() -> None:
        counters = times.counters(None)
        entry = await counters.add("a", 5)
        assert (await counters.correct(entry, -5)).total == 0
        assert (await counters.add("a", 2)).total == 2
        await counters.close()

    run(test)


def test_while_redis_is_away_the_process_counts_for_itself(times: Times) -> None:
    async def test() -> None:
        server = fakeredis.FakeServer()
        counters = times.counters(fake_pool(server))
        shared = await counters.add("a", 5)
        server.connected = False
        assert (await counters.add("a", 2)).total == 2
        assert (await counters.correct(shared, -1)) == shared
        server.connected = True
        # Redis is not asked again for some seconds, so that requests do not wait for it.
        assert (await counters.add("a", 2)).total == 4
        times.monotonic_s += 5
        assert (await counters.add("a", 2)).total == 7

    with capture_logs() as logs:
        run(test)
    assert [log["log_level"] for log in logs] == ["warning", "info"]


def test_a_real_redis_counts_and_forgets(redis_server: RedisServer, times: Times) -> None:
    async def test() -> None:
        redis_server.client.flushall()
        counters = MinuteCounters.at(redis_server.url)
        other = MinuteCounters.at(redis_server.url)
        await asyncio.gather(*((counters if i % 2 else other).add("a", 3) for i in range(40)))
        entry = await counters.add("a", 10)
        assert (await other.correct(entry, -4)).total == entry.total - 4
        await counters.close()
        await other.close()

    run(test)
    keys: list[Any] = redis_server.client.keys("*")
    assert keys
    assert all(0 < redis_server.client.ttl(key) <= 120 for key in keys)
    assert all(key.startswith(b"promptatlas:limits") for key in keys)
    assert sum(int(redis_server.client.get(key) or 0) for key in keys) == 40 * 3 + 10 - 4


def test_a_redis_that_died_costs_no_request(redis_server: RedisServer) -> None:
    async def test() -> None:
        counters = MinuteCounters.at(redis_server.url)
        await counters.add("a", 1)
        redis_server.kill()
        assert (await counters.add("a", 1)).total == 1
        await counters.close()

    try:
        run(test)
    finally:
        redis_server.start()
