from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from service.api.keys.caller_engine import CallerEngine
from service.api.keys.demand import Demand
from service.api.keys.limits import KeyLimits
from service.api.keys.minute_counters import MinuteCounters
from service.engine.requests import Delta, Generate
from service.errors import Busy, EngineUnavailable, RateLimited
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.messages import EstimateCost, Submit, Update
from service.settings import ApiKey, Settings
from tests.service.api.conftest import STATE, ScriptedEnd

KEY = ApiKey(name="ann", scope="read", sha256="0" * 64, tokens_per_minute=100, max_rows=2)
OTHER = 1_000_000  # added to read a counter; more than the limit


def job(*, stream: bool = False) -> Submit:
    request = Generate(request_id="r", inputs=("abcdefgh",), max_tokens=10, n=2, stream=stream)
    return Submit(model="demo", request=request)


class Bench:
    """An engine that sends two tokens and then nothing, used by one key."""

    def __init__(self, *, max_pending: int = 8, ready: bool = True) -> None:
        def script(message: Submit | EstimateCost) -> Sequence[Update]:
            return [Delta(request_id="r", row=0, text="ab", token_ids=(1, 2))]

        end = ScriptedEnd(script)
        client = EngineClient(end, max_pending=max_pending)
        end.engine = client
        if ready:
            client.on_message(STATE)
        self.client = client
        self.counters = MinuteCounters(now=lambda: 6e4)
        self.limits = KeyLimits(Settings(), counters=self.counters)
        self.headers: dict[str, str] = {}
        self.engine = CallerEngine(client, limits=self.limits, key=KEY, headers=self.headers)

    async def n_used(self) -> int:
        await self.limits.close()
        return (await self.counters.add("tokens/ann", OTHER)).total - OTHER

    def require_free_rows(self) -> None:
        with self.limits.rows(KEY, Demand(n_rows=2, n_input=0, n_generated=0)):
            pass


@pytest.mark.parametrize(("stream", "n_used"), [(True, 2 + 2), (False, 2 + 20)])
def test_a_client_that_goes_away_is_counted(stream: bool, n_used: int) -> None:
    async def test() -> None:
        bench = Bench()

        async def read() -> None:
            async with bench.engine.open(job(stream=stream), deadline_s=bench.client.deadline_in(60)) as exchange:
                async for _ in exchange:
                    arrived.set()

        arrived = asyncio.Event()
        # A cancelled scope of anyio, in which responses are streamed, cancels every further await.
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await arrived.wait()
            with pytest.raises(RateLimited):
                bench.require_free_rows()
            assert bench.headers["x-ratelimit-remaining-tokens"] == str(100 - 22)
            group.cancel_scope.cancel()
        assert await bench.n_used() == n_used
        bench.require_free_rows()

    asyncio.run(test())


@pytest.mark.parametrize(("max_pending", "ready", "error"), [(0, True, Busy), (8, False, EngineUnavailable)])
def test_a_request_that_the_engine_does_not_take_counts_nothing(
    max_pending: int, ready: bool, error: type[Exception]
) -> None:
    async def test() -> None:
        bench = Bench(max_pending=max_pending, ready=ready)
        with pytest.raises(error):
            async with bench.engine.open(job(), deadline_s=bench.client.deadline_in(60)):
                pytest.fail("the request was taken")
        assert await bench.n_used() == 0
        bench.require_free_rows()

    asyncio.run(test())
