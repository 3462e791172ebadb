"""Connections to Redis that would rather fail than hang, and errors of it that a client may read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.errors import Unavailable

_PATIENCE_S = 2.0
_RETRY_AFTER_S = 5.0


def connect(url: str, *, patience_s: float = _PATIENCE_S) -> Redis:
    """A client of the Redis at ``url``; nothing is sent yet. ``patience_s``: for connecting, and for each answer."""
    # One repetition: the first command after a restart of Redis meets the old connection.
    retry: Any = Retry(NoBackoff(), 1)
    return Redis.from_url(url, socket_connect_timeout=patience_s, socket_timeout=patience_s, retry=retry)


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of Redis into Unavailable."""
    try:
        yield
    except RedisError as error:
        raise Unavailable("The queue of runs cannot be reached.", retry_after_s=_RETRY_AFTER_S) from error
