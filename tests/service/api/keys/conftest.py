"""A real Redis for the tests of limits."""

from __future__ import annotations

import pytest

from tests.service.queueing.conftest import redis_server
from tests.service.queueing.redis_server import RedisServer

__all__ = ["redis_server"]


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    redis_server.client.flushall()
    return redis_server.url
