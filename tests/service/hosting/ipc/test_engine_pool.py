"""Requests go to the engine of their prompt, within its share of the load; a lost engine takes only its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, CaptureSpec, Generate, Tokenize
from service.errors import EngineUnavailable
from service.hosting.ipc.engine_client import EngineClient, Exchange
from service.hosting.ipc.engine_pool import FREE, EnginePool
from service.hosting.ipc.messages import EngineState, FromApi, Submit


@dataclass
class RecordingEnd:
    """A connection that keeps what is sent."""

    sent: list[FromApi] = field(default_factory=list)
    connected: bool = True

    def send(self, message: FromApi) -> None:
        self.sent.append(message)


def state(*models: str, generation: int = 1) -> EngineState:
    return EngineState(generation=generation, pid=7, models={model: {"name": model} for model in models}, stats={})


def pool_of(*models: tuple[str, ...], ready: bool = True) -> EnginePool:
    """Engines with these models."""
    clients = [EngineClient(RecordingEnd(), max_pending=10_000, clock=lambda: 100.0) for _ in models]
    for client, names in zip(clients, models, strict=True):
        if ready:
            client.on_message(state(*names))
    return EnginePool(clients, models={name for names in models for name in names})


def job(number: int, *, model: str = "m", prompt: str | None = None) -> Submit:
    choice = None if prompt is None else PromptChoice(parts=((prompt, 1.0),))
    return Submit(model=model, request=Generate(request_id=f"r{number}", inputs=("x",), prompt=choice))


@contextlib.asynccontextmanager
async def opened(pool: EnginePool, jobs: list[Submit]) -> AsyncIterator[list[Exchange]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.open(one, deadline_s=1e9)) for one in jobs]


def numbers(pool: EnginePool, prompts: list[str]) -> list[int]:
    """The engine of each prompt."""
    return [pool.engines.index(pool.engine_for("m", prompt=prompt)) for prompt in prompts]


def status_of(pool: EnginePool) -> str:
    return pool.status


PROMPTS = [f"sha256:{number}" for number in range(3000)]


def test_a_prompt_has_one_engine_and_prompts_are_spread_over_all() -> None:
    pool = pool_of(("m",), ("m",), ("m",))
    found = numbers(pool, PROMPTS)
    assert numbers(pool, PROMPTS) == found
    # A binomial law with p = 1/3: three standard deviations are 77.
    assert all(abs(count - 1000) < 77 for count in Counter(found).values())
    # The rank depends on nothing but the engine's number and the prompt: another API process chooses equally.
    assert numbers(pool_of(("m",), ("m",), ("m",)), PROMPTS) == found


def test_only_the_prompts_of_a_lost_engine_move_and_they_come_back() -> None:
    pool = pool_of(("m",), ("m",), ("m",))
    before = numbers(pool, PROMPTS)
    pool.engines[1].on_lost()
    during = numbers(pool, PROMPTS)
    assert 1 not in during
    assert [old for old, new in zip(before, during, strict=True) if old != new] == [1] * before.count(1)
    assert {new for old, new in zip(before, during, strict=True) if old == 1} == {0, 2}
    pool.engines[1].on_message(state("m", generation=2))
    assert numbers(pool, PROMPTS) == before


def test_requests_above_the_share_of_an_engine_go_to_the_next_one() -> None:
    async def test() -> None:
        pool = pool_of(("m",), ("m",))
        async with opened(pool, [job(number, prompt="sha256:a") for number in range(100)]):
            pending = sorted(engine.n_pending for engine in pool.engines)
            # At most 1.25 times the mean, rounded up.
            assert pending == [37, 63]
            assert pool.n_pending == 100
        assert pool.n_pending == 0

    asyncio.run(test())


def test_a_few_requests_with_one_prompt_stay_together() -> None:
    async def test() -> None:
        pool = pool_of(("m",), ("m",))
        async with opened(pool, [job(number, prompt="sha256:a") for number in range(FREE)]):
            assert sorted(engine.n_pending for engine in pool.engines) == [0, FREE]

    asyncio.run(test())


def test_requests_without_a_prompt_go_to_the_engine_with_the_fewest() -> None:
    async def test() -> None:
        pool = pool_of(("m",), ("m",), ("m",))
        async with opened(pool, [job(number) for number in range(9)]):
            assert [engine.n_pending for engine in pool.engines] == [3, 3, 3]

    asyncio.run(test())


def test_engines_may_host_different_models() -> None:
    async def test() -> None:
        pool = pool_of(("a",), ("b",), ("b",))
        assert set(pool.require_engine().models) == {"a", "b"}
        jobs = [job(0, model="a"), *(job(number, model="b") for number in (1, 2))]
        async with opened(pool, jobs):
            assert [engine.n_pending for engine in pool.engines] == [1, 1, 1]

    asyncio.run(test())


def test_a_lost_engine_fails_its_own_requests_only() -> None:
    async def test() -> None:
        pool = pool_of(("m",), ("m",))
        async with opened(pool, [job(number) for number in range(4)]) as exchanges:
            pool.engines[0].on_lost()
            lost = [exchange for exchange in exchanges if exchange.ended]
            assert len(lost) == 2
            with pytest.raises(EngineUnavailable, match="lost"):
                await anext(lost[0])
            async with opened(pool, [job(9)]):
                assert pool.engines[1].n_pending == 3
                assert pool.status == "ok"

    asyncio.run(test())


def test_it_is_ready_as_soon_as_each_model_has_an_engine() -> None:
    pool = pool_of(("a",), ("a", "b"), ready=False)
    assert (status_of(pool), pool.state) == ("starting", None)
    with pytest.raises(EngineUnavailable, match="starting"):
        pool.require_engine()
    with pytest.raises(EngineUnavailable, match="starting"):
        pool.last_state()
    pool.engines[0].on_message(state("a"))
    assert status_of(pool) == "starting"
    pool.engines[1].on_message(state("a", "b"))
    assert status_of(pool) == "ok"
    pool.engines[0].on_lost()
    assert status_of(pool) == "ok"
    pool.engines[0].on_message(state("a", generation=2))
    pool.engines[1].on_lost()
    assert status_of(pool) == "lost"
    # Cards of lost models are still known; requests to them fail.
    assert set(pool.last_state().models) == {"a", "b"}
    assert set(pool.require_engine().models) == {"a"}

    async def test() -> None:
        with pytest.raises(EngineUnavailable, match="lost"):
            async with pool.open(job(1, model="b"), deadline_s=1e9):
                pass

    asyncio.run(test())


def test_other_questions_go_to_an_engine_with_the_model() -> None:
    async def test() -> None:
        pool = pool_of(("a",), ("b",))
        spec = CaptureSpec(sites=("resid_post",))
        asked = [
            pool.call_tokenizer("b", request=Tokenize(request_id="t", texts=("x",)), deadline_s=100.0),
            pool.estimate("b", request=Capture(request_id="e", inputs=("x",), capture=spec), deadline_s=100.0),
        ]
        await asyncio.gather(*asked, return_exceptions=True)  # their deadline is now
        sent = [[type(message).__name__ for message in engine._endpoint.sent] for engine in pool.engines]  # type: ignore[attr-defined]
        assert sent[0] == []
        assert {"CallTokenizer", "EstimateCost"} <= set(sent[1])

    asyncio.run(test())
