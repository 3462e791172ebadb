"""Whether what the service leans on can be reached: asked by ``/ready``, answered within a second or two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from promptatlas.types import ComponentState
from redis.asyncio import Redis

_log = structlog.get_logger(__name__)
_PATIENCE_S = 2.0


class Pings:
    """Asks the store and Redis.

    Args:
        check_store: raises unless the store can be reached; blocking.
        redis: a client of the event loop that runs the routes; None when no Redis is configured.
    """

    def __init__(self, *, check_store: Callable[[], None], redis: Redis | None = None) -> None:
        self._check_store = check_store
        self._redis = redis

    async def store(self) -> ComponentState:
        """State of the artifact store."""
        return await _state("store", asyncio.to_thread(self._check_store))

    async def redis(self) -> ComponentState:
        """State of Redis."""
        if self._redis is None:
            return ComponentState(status="off", detail="none configured and no redis-server found: there are no runs")
        return await _state("redis", self._redis.ping())

    async def close(self) -> None:
        """Close connections."""
        if self._redis is not None:
            await self._redis.aclose()


async def _state(name: str, answer: Awaitable[object]) -> ComponentState:
    try:
        await asyncio.wait_for(answer, _PATIENCE_S)
    except Exception as error:
        _log.warning("component lost", component=name, exc_info=error)
        return ComponentState(status="lost", detail="no answer")
    return ComponentState(status="ok")
