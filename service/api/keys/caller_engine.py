"""The engine as the sender of one HTTP request may use it: within the limits of the API key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from service.api.keys.demand import Demand, n_used
from service.api.keys.limits import Headers, KeyLimits
from service.hosting.ipc.engine_client import Exchange
from service.hosting.ipc.messages import Submit
from service.settings import ApiKey


class OpensExchanges(Protocol):
    """What runs requests: the engines, or the engines within the limits of a caller."""

    def open(self, job: Submit, *, deadline_s: float) -> AbstractAsyncContextManager[Exchange]: ...


class CallerEngine:
    """Runs requests of one caller.

    Args:
        key: of the caller; None on a server without keys, where nothing is limited.
        headers: of the response to be; they show what is left of the limits.
    """

    def __init__(self, engine: OpensExchanges, *, limits: KeyLimits, key: ApiKey | None, headers: Headers) -> None:
        self._engine = engine
        self._limits = limits
        self._key = key
        self._headers = headers

    @asynccontextmanager
    async def open(self, job: Submit, *, deadline_s: float) -> AsyncIterator[Exchange]:
        """Like :meth:`EngineClient.open`.

        Raises:
            RateLimited, TooLarge: the request exceeds a limit of the key.
        """
        if self._key is None:
            async with self._engine.open(job, deadline_s=deadline_s) as exchange:
                yield exchange
            return
        demand = Demand.of(job)
        with self._limits.rows(self._key, demand):
            reserved = await self._limits.reserve_tokens(self._key, demand, headers=self._headers)
            used = 0
            try:
                async with self._engine.open(job, deadline_s=deadline_s) as exchange:
                    try:
                        yield exchange
                    finally:
                        used = n_used(job.request, exchange, demand=demand)
            finally:
                if reserved is not None:
                    await self._limits.count_tokens(self._key, reserved, n_used=used, headers=self._headers)
