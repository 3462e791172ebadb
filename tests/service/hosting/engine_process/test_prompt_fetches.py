"""Prompts are fetched beside the batch: what waits for them, what does not, and how they fail."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, CaptureSpec, Generate, KeysValues
from service.errors import AtlasError, DamagedArtifact, NotFound, StoreUnavailable
from service.hosting.engine_process.engine_loop import EngineLoop
from service.hosting.engine_process.prompt_fetches import PromptFetches, Wanted
from service.hosting.ipc.messages import (
    Cancel,
    EngineState,
    EstimateCost,
    Estimated,
    ExportPrompt,
    Finished,
    Reply,
    Submit,
)
from service.hosting.ipc.tensor_results import OpenResult
from service.store.artifacts.tensor_codec import decode
from tests.service.hosting.conftest import EchoEngine, SlowStore
from tests.service.hosting.engine_process.test_engine_loop import error_of, generate, reply, wait_for_message
from tests.service.hosting.ipc.peer import Peer

Outcome = Mapping[str, Any] | AtlasError


@pytest.fixture
def peer(loop: EngineLoop, socket_path: str) -> Iterator[Peer]:
    made = Peer(socket_path)
    assert isinstance(made.receive(), EngineState)
    yield made
    made.close()


def with_prompt(id_: str, *hashes: str, text: str = "xy") -> Submit:
    choice = PromptChoice(parts=tuple((sha256, 1.0) for sha256 in hashes), refs=tuple(f"{h}@1" for h in hashes))
    return Submit(model="m", request=Generate(request_id=id_, inputs=(text,), max_tokens=99, prompt=choice))


def receive(loop: EngineLoop, peer: Peer, *messages: Any) -> None:
    """The loop handles these messages, and takes a step if it has work."""
    for message in messages:
        peer.send(message)
        wait_for_message(loop)
        loop._receive(block=False)


def land(loop: EngineLoop, slow_store: SlowStore, sha256: str) -> None:
    """The store answers, and the loop handles what follows."""
    slow_store.released[sha256].set()
    wait_for_message(loop)
    loop._receive(block=False)


def texts_of(answers: list[Reply], request_id: str) -> str:
    updates = [update for answer in answers if answer.request_id == request_id for update in answer.updates]
    return "".join(getattr(update, "text", "") for update in updates)


# --- in the loop of the engine process ---


def test_a_slow_prompt_delays_no_token_of_a_running_request(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore
) -> None:
    receive(loop, peer, generate("runs", "abcdef"))
    loop.run_once()
    receive(loop, peer, with_prompt("waits", "p"))
    for _ in range(4):
        loop.run_once()
    assert (engine.given, engine.n_steps) == ({"runs": 5}, 5)
    assert texts_of([reply(peer) for _ in range(5)], "runs") == "abcde"
    land(loop, slow_store, "p")
    assert engine.compiled == {"p": "content of p"}
    loop.run_once()
    assert engine.given == {"runs": 6, "waits": 1}


def test_many_requests_for_one_prompt_fetch_it_once(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore
) -> None:
    receive(loop, peer, *(with_prompt(f"r{i}", "p") for i in range(20)))
    slow_store.released["p"].set()
    while len(engine.jobs) < 20:
        wait_for_message(loop)
        loop._receive(block=False)
    assert slow_store.asked == [Wanted(sha256="p", ref="p@1")]
    receive(loop, peer, with_prompt("later", "p"))  # compiled by now
    assert (len(engine.jobs), len(slow_store.asked)) == (21, 1)
    assert slow_store.expire == []


def test_a_mix_waits_for_all_its_prompts(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore
) -> None:
    receive(loop, peer, with_prompt("mix", "p", "q", "p"))
    slow_store.released["p"].set()
    receive(loop, peer, with_prompt("one", "p"))
    while "one" not in engine.jobs:
        wait_for_message(loop)
        loop._receive(block=False)
    assert list(engine.jobs) == ["one"]
    land(loop, slow_store, "q")
    assert list(engine.jobs) == ["one", "mix"]
    assert sorted(wanted.sha256 for wanted in slow_store.asked).count("q") == 1


@pytest.mark.parametrize(
    ("answer", "kind", "detail"),
    [
        (NotFound("There is no prompt."), NotFound, "There is no prompt."),
        (DamagedArtifact("It is damaged."), DamagedArtifact, "It is damaged."),
        (StoreUnavailable("No store."), StoreUnavailable, "No store."),
        (RuntimeError("/secret"), AtlasError, "The engine failed on this request."),
    ],
)
def test_a_fetch_that_fails_fails_its_request_alone(
    loop: EngineLoop,
    peer: Peer,
    engine: EchoEngine,
    slow_store: SlowStore,
    answer: Exception,
    kind: type[AtlasError],
    detail: str,
) -> None:
    slow_store.answers["p"] = answer
    receive(loop, peer, generate("runs", "abc"), with_prompt("mix", "q", "p"), with_prompt("good", "r"))
    land(loop, slow_store, "p")
    error = error_of(reply(peer))
    assert (type(error), error.detail) == (kind, detail)
    land(loop, slow_store, "r")
    assert list(engine.jobs) == ["runs", "good"]


def test_a_store_that_does_not_answer_fails_what_waits_for_it(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore
) -> None:
    receive(loop, peer, generate("runs", "abc"), with_prompt("waits", "p"))
    (expire,) = slow_store.expire
    expire()
    wait_for_message(loop)
    loop.run_once()
    answers = {answer.request_id: answer for answer in (reply(peer), reply(peer))}
    error = error_of(answers["waits"])
    assert type(error) is StoreUnavailable
    assert error.detail == "The store did not deliver the prompt within 30 seconds."
    assert list(engine.jobs) == ["runs"]
    # The next request for it asks the store again, although the first fetch still hangs.
    receive(loop, peer, with_prompt("again", "p"))
    land(loop, slow_store, "p")
    assert list(engine.jobs) == ["runs", "again"]
    assert [wanted.sha256 for wanted in slow_store.asked] == ["p", "p"]


def test_a_request_that_joined_a_fetch_later_waits_on(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore
) -> None:
    receive(loop, peer, with_prompt("first", "p"), with_prompt("second", "p"))
    slow_store.expire[0]()
    wait_for_message(loop)
    loop._receive(block=False)
    assert reply(peer).request_id == "first"
    land(loop, slow_store, "p")
    assert list(engine.jobs) == ["second"]


def test_a_request_cancelled_while_its_prompt_is_fetched_never_runs(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore, socket_path: str
) -> None:
    doomed = Peer(socket_path)
    receive(loop, peer, with_prompt("cancelled", "p"), Cancel(request_id="cancelled"))
    receive(loop, doomed, with_prompt("left alone", "q"))
    doomed.close()
    wait_for_message(loop)
    loop._receive(block=False)
    land(loop, slow_store, "p")
    land(loop, slow_store, "q")
    assert (engine.jobs, engine.cancelled) == ({}, [])


def test_an_estimate_fetches_its_prompt_too(
    loop: EngineLoop, peer: Peer, engine: EchoEngine, slow_store: SlowStore
) -> None:
    choice = PromptChoice(parts=(("p", 1.0),))
    request = Capture(request_id="e", inputs=("x",), capture=CaptureSpec(sites=("embed",)), prompt=choice)
    receive(loop, peer, EstimateCost(model="m", request=request))
    land(loop, slow_store, "p")
    assert isinstance(reply(peer).updates[0], Estimated)
    assert engine.compiled == {"p": "content of p"}
    assert slow_store.asked == [Wanted(sha256="p")]


@pytest.mark.parametrize("n_values", [3, 4000])
def test_an_export_is_answered_with_tensors_small_or_large(
    loop: EngineLoop, peer: Peer, slow_store: SlowStore, n_values: int
) -> None:
    request = KeysValues(request_id="x", prompt=PromptChoice(parts=(("p", float(n_values)),)))
    receive(loop, peer, ExportPrompt(model="m", request=request, metadata={"base": "m"}))
    land(loop, slow_store, "p")
    (finished,) = reply(peer).updates
    assert isinstance(finished, Finished)
    assert finished.result is not None
    opened = OpenResult(finished.result)
    found = decode(opened.read(0, n_bytes=opened.n_bytes))
    opened.close()
    assert found.tensors["keys.0"].shape == (n_values,)
    assert found.metadata == {"own": 1, "base": "m"}


def test_an_export_that_is_refused(loop: EngineLoop, peer: Peer, slow_store: SlowStore) -> None:
    request = KeysValues(request_id="x", prompt=PromptChoice(parts=(("refused", 1.0),)))
    receive(loop, peer, ExportPrompt(model="m", request=request))
    land(loop, slow_store, "refused")
    assert error_of(reply(peer)).detail == "no keys"


def test_an_unknown_model_is_said_before_anything_is_fetched(
    loop: EngineLoop, peer: Peer, slow_store: SlowStore
) -> None:
    choice = PromptChoice(parts=(("p", 1.0),))
    receive(loop, peer, Submit(model="nope", request=Generate(request_id="a", inputs=("x",), prompt=choice)))
    assert type(error_of(reply(peer))) is NotFound
    assert slow_store.asked == []


# --- fetches alone ---


@pytest.fixture
def outcomes() -> queue.SimpleQueue[Outcome]:
    return queue.SimpleQueue()


def wanted(*hashes: str) -> list[Wanted]:
    return [Wanted(sha256=sha256) for sha256 in hashes]


def test_more_contents_than_threads(
    fetches: PromptFetches[Any], slow_store: SlowStore, outcomes: queue.SimpleQueue[Outcome]
) -> None:
    names = [f"p{i}" for i in range(10)]
    for name in names:
        slow_store.released[name].set()
    fetches.fetch(wanted(*names), on_done=outcomes.put)
    assert outcomes.get(timeout=30) == {name: f"content of {name}" for name in names}
    assert (fetches.n_fetched, slow_store.expire) == (10, [])


def test_threads_that_hang_leave_the_others_to_the_next_fetches(
    fetches: PromptFetches[Any], slow_store: SlowStore, outcomes: queue.SimpleQueue[Outcome]
) -> None:
    fetches.fetch(wanted("hangs", "hangs too"), on_done=outcomes.put)
    slow_store.released["p"].set()
    fetches.fetch(wanted("p"), on_done=outcomes.put)
    assert outcomes.get(timeout=30) == {"p": "content of p"}


def test_an_outcome_is_reported_once(
    fetches: PromptFetches[Any], slow_store: SlowStore, outcomes: queue.SimpleQueue[Outcome]
) -> None:
    slow_store.answers = {"p": NotFound("p"), "q": NotFound("q")}
    fetches.fetch(wanted("p", "q"), on_done=outcomes.put)
    (expire,) = slow_store.expire
    expire()
    for sha256 in ("p", "q"):
        slow_store.released[sha256].set()
    assert isinstance(outcomes.get(timeout=30), StoreUnavailable)
    fetches.fetch(wanted("p"), on_done=outcomes.put)
    assert isinstance(outcomes.get(timeout=30), NotFound)
    assert outcomes.empty()


def test_the_real_timer_calls_once_and_can_be_cancelled(
    slow_store: SlowStore, outcomes: queue.SimpleQueue[Outcome]
) -> None:
    fetches: PromptFetches[Any] = PromptFetches(slow_store.load, timeout_s=0.01)
    fetches.fetch(wanted("hangs"), on_done=outcomes.put)
    error = outcomes.get(timeout=30)
    assert isinstance(error, StoreUnavailable)
    assert error.detail == "The store did not deliver the prompt within 0.01 seconds."
    assert outcomes.empty()
