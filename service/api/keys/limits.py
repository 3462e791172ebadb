"""Limits of API keys: requests and tokens a minute, and rows at the same time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from service.api.keys.demand import Demand
from service.api.keys.minute_counters import Entry, MinuteCounters
from service.errors import RateLimited, TooLarge
from service.settings import ApiKey, Settings

_ROWS_RETRY_S = 1.0

Headers = MutableMapping[str, str]
"""Headers of the response to be, by name in lower case."""


class KeyLimits:
    """Counts what the owners of keys use. Owners are names: keys of one name share their limits.

    Args:
        settings: the limits of keys that have none of their own.
    """

    def __init__(self, settings: Settings, *, counters: MinuteCounters) -> None:
        self._settings = settings
        self._counters = counters
        self._n_rows: Counter[str] = Counter()
        self._counting: set[asyncio.Task[None]] = set()

    async def count_request(self, key: ApiKey, *, headers: Headers) -> None:
        """Count one request.

        Raises:
            RateLimited: the owner has sent as many requests as the limit allows in this minute.
        """
        limit = key.requests_per_minute or self._settings.requests_per_minute
        if limit is None:
            return
        entry = await self._counters.add(f"requests/{key.name}", 1)
        self._show(headers, "requests", limit=limit, used=entry.total)
        if entry.total > limit:
            raise self._exceeded(f"This key may send {limit:,} requests a minute.")

    @contextmanager
    def rows(self, key: ApiKey, demand: Demand) -> Iterator[None]:
        """Count the rows of a request while it waits and runs in this process.

        Raises:
            RateLimited: they would exceed the limit together with the rows of other requests.
            TooLarge: they exceed it alone.
        """
        limit = key.max_rows or self._settings.rows_per_key
        if demand.n_rows > limit:
            raise TooLarge(
                f"The request has {demand.n_rows:,} rows (inputs × n); this key may have {limit:,} at the same time. "
                "Split the request."
            )
        if self._n_rows[key.name] + demand.n_rows > limit:
            raise RateLimited(
                f"This key may have {limit:,} rows (inputs × n) at the same time; {self._n_rows[key.name]:,} are waiting or "
                f"running, and the request has {demand.n_rows:,}.",
                retry_after_s=_ROWS_RETRY_S,
            )
        self._n_rows[key.name] += demand.n_rows
        try:
            yield
        finally:
            self._n_rows[key.name] -= demand.n_rows
            if not self._n_rows[key.name]:
                del self._n_rows[key.name]

    async def reserve_tokens(self, key: ApiKey, demand: Demand, *, headers: Headers) -> tuple[Entry, int] | None:
        """Reserve the tokens that a request may use; returns what was reserved, None without a limit.

        The reservation is at most the limit: a request that may generate more runs when the owner has used nothing yet.

        Raises:
            RateLimited: they would exceed the limit together with the tokens of other requests in this minute.
            TooLarge: the inputs exceed it alone.
        """
        limit = key.tokens_per_minute or self._settings.tokens_per_minute
        if limit is None:
            return None
        if demand.n_input > limit:
            raise TooLarge(
                f"The inputs have about {demand.n_input:,} tokens; this key may use {limit:,} a minute. Split the request."
            )
        amount = min(demand.n_tokens, limit)
        entry = await self._counters.add(f"tokens/{key.name}", amount)
        if entry.total > limit:
            entry = await self._counters.correct(entry, -amount)
            self._show(headers, "tokens", limit=limit, used=entry.total)
            raise self._exceeded(
                f"This key may use {limit:,} tokens a minute, input and generated ones; {entry.total:,} are used or reserved "
                f"by running requests, and the request may use {amount:,}. A smaller max_tokens reserves less."
            )
        self._show(headers, "tokens", limit=limit, used=entry.total)
        return entry, amount

    async def count_tokens(self, key: ApiKey, reserved: tuple[Entry, int], *, n_used: int, headers: Headers) -> None:
        """Replace a reservation by the number of tokens that were used, in the minute of the reservation.

        It is done even if the client has gone and the task that waits for it is cancelled.
        """
        task = asyncio.ensure_future(self._count_tokens(key, reserved, n_used=n_used, headers=headers))
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Close connections, after all tokens are counted."""
        await asyncio.gather(*self._counting, return_exceptions=True)
        await self._counters.close()

    async def _count_tokens(self, key: ApiKey, reserved: tuple[Entry, int], *, n_used: int, headers: Headers) -> None:
        entry, amount = reserved
        if n_used != amount:
            entry = await self._counters.correct(entry, n_used - amount)
        limit = key.tokens_per_minute or self._settings.tokens_per_minute
        if limit is not None and entry.counter.endswith(f"/{self._counters.minute}"):
            self._show(headers, "tokens", limit=limit, used=entry.total)

    def _show(self, headers: Headers, kind: str, *, limit: int, used: int) -> None:
        headers[f"x-ratelimit-limit-{kind}"] = str(limit)
        headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, limit - used))
        headers[f"x-ratelimit-reset-{kind}"] = f"{math.ceil(self._counters.left_s)}s"

    def _exceeded(self, detail: str) -> RateLimited:
        return RateLimited(detail, retry_after_s=self._counters.left_s)
