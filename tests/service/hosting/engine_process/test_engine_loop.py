from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, load_file

from service.engine.requests import Capture, CaptureSpec, Detokenize, Estimate, Generate, Intervention, Tokenize
from service.errors import AtlasError, InvalidRequest, NotFound, Unavailable
from service.hosting.engine_process.engine_loop import EngineLoop
from service.hosting.ipc.messages import (
    CallTokenizer,
    Cancel,
    EngineState,
    EstimateCost,
    Estimated,
    Finished,
    Reply,
    Submit,
    Tokenized,
)
from tests.service.hosting.conftest import EchoEngine
from tests.service.hosting.ipc.peer import Peer


@pytest.fixture
def peer(loop: EngineLoop, socket_path: str) -> Iterator[Peer]:
    made = Peer(socket_path)
    assert isinstance(made.receive(), EngineState)
    yield made
    made.close()


def generate(id_: str, text: str, *, model: str = "m", max_tokens: int = 99, **fields: Any) -> Submit:
    request = Generate(request_id=id_, inputs=(text,), max_tokens=max_tokens)
    return Submit(model=model, request=request, **fields)


def capture(id_: str, n_values: int, *, model: str = "m") -> Submit:
    request = Capture(request_id=id_, inputs=(str(n_values),), capture=CaptureSpec(sites=("embed",)))
    return Submit(model=model, request=request, metadata={"model": model, "own": 2})


def wait_for_message(loop: EngineLoop) -> None:
    """Wait until the thread that reads the socket has put a message, or a disconnect, into the inbox."""
    while loop._endpoint._inbox.empty():
        time.sleep(0.001)


def reply(peer: Peer) -> Reply:
    message = peer.receive()
    while isinstance(message, EngineState):
        message = peer.receive()
    assert isinstance(message, Reply)
    return message


def error_of(answer: Reply) -> AtlasError:
    (failed,) = answer.updates
    error = getattr(failed, "error", None)
    assert isinstance(error, AtlasError)
    return error


def test_a_new_connection_receives_the_engine_state(loop: EngineLoop, socket_path: str) -> None:
    state = Peer(socket_path).receive()
    assert isinstance(state, EngineState)
    assert (state.generation, state.models) == (5, {"m": {"n_layers": 3}})
    assert state.stats == {"m": {"n_running": 0, "n_steps": 0, "prompt_fetches": 0}}


def test_updates_of_one_step_are_one_message(loop: EngineLoop, peer: Peer) -> None:
    peer.send(generate("a", "xy"))
    loop.run_once()
    loop.run_once()
    first, second = reply(peer), reply(peer)
    assert [type(update).__name__ for update in first.updates] == ["Delta"]
    assert [type(update).__name__ for update in second.updates] == ["Delta", "RowDone", "Finished"]
    assert second.request_id == "a"


def test_requests_are_admitted_between_steps_and_share_them(loop: EngineLoop, peer: Peer, engine: EchoEngine) -> None:
    peer.send(generate("a", "xyz"))
    loop.run_once()
    peer.send(generate("b", "q"))
    wait_for_message(loop)
    loop.run_once()
    assert (engine.given, engine.n_steps) == ({"a": 2, "b": 1}, 2)
    assert [reply(peer).request_id for _ in range(3)] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("job", "kind", "detail"),
    [
        (generate("a", "refuse"), InvalidRequest, "refused"),
        (generate("a", "fail"), InvalidRequest, "failed"),
        (generate("a", "x", model="nope"), NotFound, "No model 'nope' is hosted here."),
        (generate("a", "crash"), AtlasError, "The engine failed on this request."),
    ],
)
def test_a_request_that_fails_fails_alone(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, job: Submit, kind: type[AtlasError], detail: str
) -> None:
    peer.send(generate("other", "xyz"))
    loop.run_once()
    peer.send(job)
    wait_for_message(loop)
    loop.run_once()
    (answer,) = [message for message in (reply(peer) for _ in range(3)) if message.request_id == "a"]
    assert type(error_of(answer)) is kind
    assert error_of(answer).detail == detail
    assert list(engine.jobs) == ["other"]


def test_a_cancelled_request_is_dropped_before_the_next_step(loop: EngineLoop, peer: Peer, engine: EchoEngine) -> None:
    peer.send(generate("a", "xyz"))
    loop.run_once()
    peer.send(Cancel(request_id="a"))
    wait_for_message(loop)
    loop.run_once()
    assert (engine.cancelled, engine.n_steps) == (["a"], 1)


def test_cancelling_an_unknown_request_does_nothing(loop: EngineLoop, peer: Peer, engine: EchoEngine) -> None:
    peer.send(Cancel(request_id="unknown"))
    loop.run_once()
    assert engine.cancelled == []


def test_the_requests_of_an_api_process_that_died_are_cancelled(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, socket_path: str
) -> None:
    peer.send(generate("stays", "xyz"))
    loop.run_once()
    doomed = Peer(socket_path)
    doomed.send(generate("goes", "xyz"))
    wait_for_message(loop)
    loop.run_once()
    assert list(engine.jobs) == ["stays", "goes"]
    doomed.close()
    wait_for_message(loop)
    loop.run_once()
    assert engine.cancelled == ["goes"]


def test_a_small_result_is_sent_inside_its_message(loop: EngineLoop, peer: Peer) -> None:
    peer.send(capture("a", 7))
    loop.run_once()
    (finished,) = reply(peer).updates
    assert isinstance(finished, Finished)
    assert finished.result is not None
    assert finished.result.path is None
    assert load(finished.result.data or b"")["embed"].shape == (7,)


def test_a_large_result_is_a_file(loop: EngineLoop, peer: Peer, tmp_path: Path) -> None:
    peer.send(capture("a", 1000))
    loop.run_once()
    (finished,) = reply(peer).updates
    assert isinstance(finished, Finished)
    assert finished.result is not None
    assert finished.result.data is None
    path = Path(finished.result.path or "")
    assert path.parent == tmp_path / "results"
    assert path.stat().st_size == finished.result.n_bytes
    assert load_file(path)["embed"].shape == (1000,)


def test_an_estimate_needs_no_step(loop: EngineLoop, peer: Peer, engine: EchoEngine) -> None:
    question = capture("a", 3).request
    assert isinstance(question, Capture)
    peer.send(EstimateCost(model="m", request=question))
    loop.run_once()
    assert reply(peer).updates == (Estimated(estimate=Estimate(n_tokens=1, n_bytes=2, seconds=0.5)),)
    assert engine.n_steps == 0


def test_the_tokenizer_needs_no_step(loop: EngineLoop, peer: Peer, engine: EchoEngine) -> None:
    calls = [
        CallTokenizer(model="m", request=Tokenize(request_id="a", texts=("hi", ""))),
        CallTokenizer(model="m", request=Detokenize(request_id="b", token_ids=(104, 105))),
        CallTokenizer(model="m", request=Detokenize(request_id="c", token_ids=(-1,))),
        CallTokenizer(model="unknown", request=Tokenize(request_id="d", texts=("hi",))),
    ]
    answers: dict[str, Reply] = {}
    for call in calls:
        peer.send(call)
        loop.run_once()
        answers[call.request.request_id] = reply(peer)
    assert answers["a"].updates == (Tokenized(token_ids=((104, 105), ())),)
    assert answers["b"].updates == (Tokenized(text="hi"),)
    assert isinstance(error_of(answers["c"]), InvalidRequest)
    assert isinstance(error_of(answers["d"]), NotFound)
    assert engine.n_steps == 0


def test_a_failing_step_fails_its_requests_and_the_loop_continues(
    loop: EngineLoop, peer: Peer, engine: EchoEngine
) -> None:
    peer.send(generate("a", "xy"))
    engine.n_broken_steps = 1
    loop.run_once()
    assert isinstance(error_of(reply(peer)), Unavailable)
    assert (engine.cancelled, engine.failed) == (["a"], ["a"])
    peer.send(generate("b", "x"))
    loop.run_once()
    assert isinstance(reply(peer).updates[-1], Finished)


def test_an_engine_whose_steps_all_fail_ends_the_process(loop: EngineLoop, peer: Peer, engine: EchoEngine) -> None:
    engine.n_broken_steps = 9
    for i in range(2):
        peer.send(generate(f"r{i}", "x"))
        loop.run_once()
    peer.send(generate("last", "x"))
    with pytest.raises(RuntimeError, match="broken"):
        loop.run_once()


def test_missing_values_are_an_invalid_request(loop: EngineLoop, peer: Peer) -> None:
    request = Generate(request_id="a", inputs=("x",), interventions=(Intervention(site="embed"),))
    peer.send(Submit(model="m", request=request, values=("v",)))
    loop.run_once()
    assert "'v'" in error_of(reply(peer)).detail


def test_stats_are_published_when_work_ends(loop: EngineLoop, peer: Peer) -> None:
    peer.send(generate("a", "xyz"))
    for _ in range(4):  # the last one finds no work
        loop.run_once()
    messages = [peer.receive() for _ in range(4)]
    assert isinstance(messages[-1], EngineState)
    assert messages[-1].stats == {"m": {"n_running": 0, "n_steps": 3, "prompt_fetches": 0}}
    assert all(isinstance(message, Reply) for message in messages[:-1])


def test_statistics_travel_with_the_state(loop: EngineLoop, peer: Peer) -> None:
    peer.send(generate("a", "x"))
    loop.run_once()
    loop.run_once()
    messages = [peer.receive() for _ in range(2)]
    assert isinstance(messages[-1], EngineState)
    assert messages[-1].statistics["m"].finished == {"stop": 1}


def test_the_first_reply_has_the_tokens_of_each_input(loop: EngineLoop, peer: Peer) -> None:
    peer.send(generate("a", "xy"))
    loop.run_once()
    loop.run_once()
    assert [reply(peer).n_input for _ in range(2)] == [(1,), None]
    for n_values in (3, 5000):  # within the message, and in a file
        peer.send(capture("c", n_values))
        loop.run_once()
        assert reply(peer).n_input == (1,)


def test_a_request_arrives_when_it_is_received_and_not_when_the_step_before_it_ends(
    loop: EngineLoop, peer: Peer, engine: EchoEngine
) -> None:
    before_s = time.monotonic()
    peer.send(generate("a", "x"))
    wait_for_message(loop)
    received_s = time.monotonic()
    loop.run_once()
    (arrived_s,) = engine.arrived_s
    assert arrived_s is not None
    assert before_s <= arrived_s <= received_s
