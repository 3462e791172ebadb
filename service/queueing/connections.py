"""Redis connections with short timeouts, and the translation of Redis errors into errors for clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.errors import QueueUnavailable

_TIMEOUT_S = 2.0
_RETRY_AFTER_S = 5.0


def connect(url: str, *, timeout_s: float = _TIMEOUT_S) -> Redis:
    """A client of the Redis at ``url``, not connected yet. ``timeout_s``: of connecting, and of each command."""
    # One retry: after a restart of Redis, the first command fails on the old connection.
    retry: Any = Retry(NoBackoff(), 1)
    return Redis.from_url(url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s, retry=retry)


@contextmanager
def redis_errors_as_unavailable() -> Iterator[None]:
    """Raise QueueUnavailable in place of any error of Redis."""
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable("The queue of runs cannot be reached.", retry_after_s=_RETRY_AFTER_S) from error
