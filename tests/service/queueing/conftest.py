from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.queueing.embedded_redis import find_server
from service.queueing.intervals import Intervals
from service.queueing.queue import RunQueue
from tests.service.queueing.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if find_server() is None:
        pytest.skip("no redis-server here")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def queue(redis_server: RedisServer) -> RunQueue:
    """An empty queue. Nothing in it expires within a test."""
    redis_server.client.flushall()
    return RunQueue.at(redis_server.url, timing=Intervals(alive_s=600, reconcile_s=600))
