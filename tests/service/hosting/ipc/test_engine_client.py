from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.engine.requests import Capture, CaptureSpec, Delta, Estimate, Failed, Generate, RowDone, Tokenize
from service.errors import Busy, DeadlineExceeded, EngineUnavailable, InvalidRequest, Unavailable
from service.hosting.ipc.engine_client import EngineClient, Exchange, Step
from service.hosting.ipc.messages import (
    CallTokenizer,
    Cancel,
    EngineState,
    EstimateCost,
    Estimated,
    Finished,
    FromApi,
    Reply,
    StoredResult,
    Submit,
    Tokenized,
    Update,
)
from service.hosting.ipc.tensor_results import OpenResult

STATE = EngineState(generation=1, pid=7, models={"m": {}}, stats={})


@dataclass
class RecordingEnd:
    sent: list[FromApi] = field(default_factory=list)
    connected: bool = True

    def send(self, message: FromApi) -> None:
        self.sent.append(message)


@dataclass
class World:
    end: RecordingEnd
    hub: EngineClient

    def happen(self, id_: str, *updates: Update) -> None:
        self.hub.on_message(Reply(request_id=id_, updates=updates))

    def open(self, id_: str = "a", *, deadline_s: float = 1e9) -> contextlib.AbstractAsyncContextManager[Exchange]:
        return self.hub.open(Submit(model="m", request=Generate(request_id=id_, inputs=("x",))), deadline_s=deadline_s)


@pytest.fixture
def world() -> World:
    end = RecordingEnd()
    hub = EngineClient(end, max_pending=2, clock=lambda: 100.0)
    hub.on_message(STATE)
    return World(end, hub)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def delta(id_: str, text: str) -> Delta:
    return Delta(request_id=id_, row=0, text=text, token_ids=(1,))


async def all_of(exchange: Exchange) -> list[Step]:
    return [step async for step in exchange]


def test_a_request_is_sent_and_its_updates_arrive_in_order(world: World) -> None:
    async def test() -> None:
        async with world.open() as exchange:
            end = RowDone(request_id="a", row=0, finish_reason="stop", n_input=1, n_generated=2)
            world.happen("a", delta("a", "x"))
            world.happen("b", delta("b", "not mine"))
            world.happen("a", delta("a", "y"), end, Finished())
            assert await all_of(exchange) == [delta("a", "x"), delta("a", "y"), end]
            assert await all_of(exchange) == []

    run(test)
    assert [type(message) for message in world.end.sent] == [Submit]
    assert world.hub.n_pending == 0


def test_the_engines_error_is_raised(world: World) -> None:
    async def test() -> None:
        async with world.open() as exchange:
            world.happen("a", delta("a", "x"), Failed(request_id="a", error=InvalidRequest("bad")))
            assert await exchange.__anext__() == delta("a", "x")
            with pytest.raises(InvalidRequest, match="bad"):
                await exchange.__anext__()

    run(test)
    assert len(world.end.sent) == 1


def test_leaving_early_cancels(world: World) -> None:
    async def test() -> None:
        async with world.open() as exchange:
            world.happen("a", delta("a", "x"))
            await exchange.__anext__()

    run(test)
    assert world.end.sent[1:] == [Cancel(request_id="a")]


def test_cancelling_the_waiting_task_cancels_the_request(world: World) -> None:
    async def wait() -> None:
        async with world.open() as exchange:
            await all_of(exchange)

    async def test() -> None:
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test)
    assert world.end.sent[1:] == [Cancel(request_id="a")]


def test_a_request_past_its_deadline_ends_even_if_updates_are_queued(world: World) -> None:
    async def test() -> None:
        async with world.open(deadline_s=99.0) as exchange:
            world.happen("a", delta("a", "x"))
            with pytest.raises(DeadlineExceeded):
                await exchange.__anext__()

    run(test)
    assert world.end.sent[1:] == [Cancel(request_id="a")]


def test_a_lost_engine_fails_pending_and_new_requests_at_once(world: World) -> None:
    async def wait(id_: str) -> None:
        async with world.open(id_) as exchange:
            await all_of(exchange)

    async def test() -> None:
        tasks = [asyncio.ensure_future(wait(id_)) for id_ in ("a", "b")]
        await asyncio.sleep(0)
        world.end.connected = False
        world.hub.on_lost()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [EngineUnavailable, EngineUnavailable]
        assert world.hub.status == "lost"
        with pytest.raises(Unavailable, match="restarted"):
            await wait("c")

    run(test)
    world.hub.on_message(STATE)
    assert world.hub.status == "ok"
    assert not any(isinstance(message, Cancel) for message in world.end.sent)


def test_nothing_is_sent_before_the_engine_is_ready() -> None:
    hub = EngineClient(end := RecordingEnd(), max_pending=2)

    async def test() -> None:
        with pytest.raises(Unavailable, match="starting") as caught:
            async with World(end, hub).open():
                raise AssertionError("opened")
        assert caught.value.retry_after_s

    run(test)
    assert (hub.status, end.sent) == ("starting", [])


def test_the_number_of_pending_requests_is_limited(world: World) -> None:
    async def test() -> None:
        async with world.open("a"), world.open("b"):
            with pytest.raises(Busy) as caught:
                async with world.open("c"):
                    raise AssertionError("opened")
            assert caught.value.retry_after_s

    run(test)
    assert [message.request.request_id for message in world.end.sent if isinstance(message, Submit)] == ["a", "b"]


def test_a_draining_service_takes_new_requests_and_lets_pending_ones_finish(world: World) -> None:
    async def test() -> None:
        async with world.open() as exchange:
            world.hub.drain()
            async with world.open("b") as later:
                world.happen("b", delta("b", "y"), Finished())
                assert await all_of(later) == [delta("b", "y")]
            world.happen("a", delta("a", "x"), Finished())
            assert await all_of(exchange) == [delta("a", "x")]

    run(test)


def stored(folder: Path, name: str = "r") -> StoredResult:
    path = folder / name
    path.write_bytes(b"tensors")
    return StoredResult(n_bytes=7, path=str(path))


def test_the_caller_owns_a_result(world: World, tmp_path: Path) -> None:
    async def test() -> OpenResult:
        async with world.open() as exchange:
            world.happen("a", Finished(result=stored(tmp_path)))
            return await exchange.result()

    result = asyncio.run(test())
    assert list(tmp_path.iterdir()) == []
    assert result.read(0, n_bytes=99) == b"tensors"
    result.close()


def test_results_that_are_not_taken_are_closed(world: World, tmp_path: Path) -> None:
    async def test() -> None:
        async with world.open() as exchange:
            world.happen("a", Finished(result=stored(tmp_path)))
            opened = exchange._opened
        assert opened is not None
        assert opened.read(0, n_bytes=1) == b""

    run(test)
    world.happen("gone", Finished(result=stored(tmp_path, "late")))
    assert list(tmp_path.iterdir()) == []


def test_a_result_removed_with_its_engine_is_unavailable(world: World, tmp_path: Path) -> None:
    result = stored(tmp_path)
    Path(str(result.path)).unlink()

    async def test() -> None:
        async with world.open() as exchange:
            world.happen("a", Finished(result=result))
            with pytest.raises(Unavailable):
                await exchange.result()

    run(test)


def test_an_estimate_returns_the_engines_answer(world: World) -> None:
    capture = Capture(request_id="q", inputs=("x",), capture=CaptureSpec(sites=("embed",)))
    answer = Estimate(n_tokens=1, n_bytes=2, seconds=3.0)

    async def test() -> None:
        task = asyncio.ensure_future(world.hub.estimate("m", request=capture, deadline_s=1e9))
        await asyncio.sleep(0)
        world.happen("q", Estimated(estimate=answer))
        assert await task == answer

    run(test)
    assert world.end.sent == [EstimateCost(model="m", request=capture)]


def test_a_call_of_the_tokenizer_returns_the_engines_answer(world: World) -> None:
    question = Tokenize(request_id="q", texts=("x",))

    async def test() -> None:
        for update in (Tokenized(token_ids=((3,),)), Failed(request_id="q", error=InvalidRequest("no"))):
            task = asyncio.ensure_future(world.hub.call_tokenizer("m", request=question, deadline_s=1e9))
            await asyncio.sleep(0)
            world.happen("q", update)
            if isinstance(update, Failed):
                with pytest.raises(InvalidRequest):
                    await task
            else:
                assert await task == update

    run(test)
    assert world.end.sent == [CallTokenizer(model="m", request=question)] * 2
