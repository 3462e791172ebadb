"""Checks of the store and Redis for ``/ready``, each within two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from promptatlas.types import ComponentState
from redis.asyncio import Redis

from service.errors import AtlasError
from service.problem_types import problem_type

_log = structlog.get_logger(__name__)
_TIMEOUT_S = 2.0


class ComponentChecks:
    """Checks whether the store and Redis can be used.

    Args:
        check_store: raises unless the store can be read and written; blocking.
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
            return ComponentState(
                status="off", detail="Redis is not configured and no redis-server was found: runs are disabled"
            )
        return await _state("redis", self._redis.ping())

    async def close(self) -> None:
        """Close connections."""
        if self._redis is not None:
            await self._redis.aclose()


async def _state(name: str, check: Awaitable[object]) -> ComponentState:
    try:
        await asyncio.wait_for(check, _TIMEOUT_S)
    except AtlasError as error:
        _log.warning("component unavailable", component=name, reason=error.detail)
        return ComponentState(status="lost", detail=error.detail, problem=problem_type(error.title))
    except Exception as error:
        _log.warning("component unreachable", component=name, exc_info=error)
        return ComponentState(status="lost", detail="no response")
    return ComponentState(status="ok")
