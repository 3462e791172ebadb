"""Counters of the present minute, shared by API processes through Redis; in the memory of this process without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.exceptions import RedisError

_log = structlog.get_logger(__name__)

MINUTE_S = 60
_KEPT_S = 2 * MINUTE_S  # a request may end, and be counted, after its minute
_TIMEOUT_S = 0.5
_N_CONNECTIONS = 16
_RETRY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An amount that was added to a counter. total: of the counter, with it."""

    counter: str
    storage: Storage
    total: int


class MinuteCounters:
    """Counts for each name and minute of the clock.

    Minutes are fixed windows: what was reserved can be given back to the window that it was taken from, and the time at which
    it is available again is known. While Redis does not answer, this process counts for itself.

    Args:
        pool: connections to Redis; None without Redis. Nothing is connected before the first use.
        now: seconds since the epoch. clock: monotonic seconds.
    """

    def __init__(
        self,
        pool: ConnectionPool | None = None,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._shared = None if pool is None else _storage_in(pool)
        self._own: Storage = MemoryStorage()
        self._now = now
        self._clock = clock
        self._is_away = False
        self._retry_at_s = clock()

    @classmethod
    def at(cls, redis_url: str | None) -> MinuteCounters:
        """Counters in this Redis."""
        if redis_url is None:
            return cls()
        times = {"timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "socket_timeout": _TIMEOUT_S}
        return cls(BlockingConnectionPool.from_url(redis_url, max_connections=_N_CONNECTIONS, **times))

    @property
    def minute(self) -> int:
        """Number of the present minute."""
        return int(self._now() // MINUTE_S)

    @property
    def left_s(self) -> float:
        """Seconds until the next minute."""
        return MINUTE_S - self._now() % MINUTE_S

    async def add(self, name: str, amount: int) -> Entry:
        """Add an amount to the counter of ``name`` in the present minute."""
        counter = f"{name}/{self.minute}"
        if self._shared is not None and (not self._is_away or self._clock() >= self._retry_at_s):
            try:
                total = await self._add_to(self._shared, counter, amount)
            except (RedisError, OSError, asyncio.TimeoutError, TimeoutError) as error:
                self._note_away(error)
            else:
                if self._is_away:
                    _log.info("Redis answers: limits are shared again")
                self._is_away = False
                return Entry(counter=counter, storage=self._shared, total=total)
        return Entry(counter=counter, storage=self._own, total=await self._add_to(self._own, counter, amount))

    async def correct(self, entry: Entry, amount: int) -> Entry:
        """Add an amount, which may be negative, where ``entry`` was added."""
        try:
            total = await self._add_to(entry.storage, entry.counter, amount)
        except (RedisError, OSError, asyncio.TimeoutError, TimeoutError) as error:
            self._note_away(error)
            return entry
        return Entry(counter=entry.counter, storage=entry.storage, total=total)

    async def close(self) -> None:
        """Close connections."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def _add_to(self, storage: Storage, counter: str, amount: int) -> int:
        return await asyncio.wait_for(storage.incr(counter, _KEPT_S, amount), _TIMEOUT_S)

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            _log.warning("Redis does not answer: this process counts limits for itself", reason=str(error)[:200])
        self._is_away = True
        self._retry_at_s = self._clock() + _RETRY_S


def _storage_in(pool: ConnectionPool) -> Storage:
    return RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix="promptatlas:limits",
        connection_pool=pool,  # type: ignore[arg-type]
    )
