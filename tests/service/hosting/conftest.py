"""A small deterministic engine with the interface of the real one."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from service.engine.comparisons import LensDivergence
from service.engine.inputs import PromptChoice
from service.engine.requests import (
    Capture,
    Delta,
    Detokenize,
    Done,
    Estimate,
    Event,
    Failed,
    Generate,
    KeysValues,
    RowDone,
    Tensors,
    Tokenize,
)
from service.engine.statistics import EngineStatistics, RequestTimes
from service.errors import InvalidRequest
from service.hosting.engine_process.engine_loop import EngineLoop
from service.hosting.engine_process.prompt_fetches import PromptFetches, Wanted
from service.hosting.engine_process.served_model import ServedModel
from service.hosting.ipc.tensor_results import ResultWriter


@dataclass
class EchoEngine:
    """Each step gives every request its next letter; a capture takes one step. Some inputs cause errors."""

    jobs: dict[str, Generate | Capture] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    arrived_s: list[float | None] = field(default_factory=list)
    n_broken_steps: int = 0
    n_steps: int = 0

    @property
    def has_work(self) -> bool:
        return bool(self.jobs)

    def missing(self, choice: PromptChoice | None) -> tuple[str, ...]:
        return () if choice is None else tuple(sha256 for sha256, _ in choice.parts if sha256 not in self.compiled)

    def submit(
        self, request: Generate | Capture, *, contents: Mapping[str, Any], arrived_s: float | None = None
    ) -> tuple[int, ...]:
        if request.inputs == ("refuse",):
            raise InvalidRequest("refused", loc=("inputs",))
        if request.inputs == ("crash",):
            raise RuntimeError("/secret")
        self.compiled.update(contents)
        self.jobs[request.request_id] = request
        self.given[request.request_id] = 0
        self.arrived_s.append(arrived_s)
        return (1,) * len(request.inputs)

    def cancel(self, request_id: str, *, has_failed: bool = False) -> None:
        self.cancelled.append(request_id)
        if has_failed:
            self.failed.append(request_id)
        self.jobs.pop(request_id, None)

    def step(self) -> list[Event]:
        self.n_steps += 1
        if self.n_broken_steps:
            self.n_broken_steps -= 1
            raise RuntimeError("broken")
        events: list[Event] = []
        for request in list(self.jobs.values()):
            events += self._advance(request)
        for event in events:
            if event.ends_request:
                del self.jobs[event.request_id]
        return events

    def estimate(self, request: Capture, *, contents: Mapping[str, Any]) -> Estimate:
        self.compiled.update(contents)
        return Estimate(n_tokens=len(request.inputs), n_bytes=2, seconds=0.5)

    def keys_values(self, request: KeysValues, *, contents: Mapping[str, Any]) -> Tensors:
        self.compiled.update(contents)
        if request.prompt.parts[0][0] == "refused":
            raise InvalidRequest("no keys")
        return Tensors(tensors={"keys.0": torch.ones(int(request.prompt.parts[0][1]))}, metadata={"own": 1})

    def lens_divergence(self, request: LensDivergence) -> Tensors:
        if request.states.shape != request.others.shape:
            raise InvalidRequest("no states")
        return Tensors(tensors={"kl": (request.states - request.others).sum(1)}, metadata={})

    def tokenize(self, request: Tokenize) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(map(ord, text)) for text in request.texts)

    def detokenize(self, request: Detokenize) -> str:
        if -1 in request.token_ids:
            raise InvalidRequest("refused", loc=("tokens", 0))
        return "".join(map(chr, request.token_ids))

    def stats(self) -> Mapping[str, float]:
        return {"n_running": len(self.jobs), "n_steps": self.n_steps}

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(finished={"stop": self.n_steps})

    def watch(self, on_end: Callable[[RequestTimes], None]) -> None:
        self.on_end = on_end

    def _advance(self, request: Generate | Capture) -> list[Event]:
        id_ = request.request_id
        if isinstance(request, Capture):
            shape = (int(str(request.inputs[0])),)
            return [Done(request_id=id_, result=Tensors(tensors={"embed": torch.ones(shape)}, metadata={"own": 1}))]
        text = str(request.inputs[0])
        if text == "fail":
            return [Failed(request_id=id_, error=InvalidRequest("failed"))]
        at = self.given[id_]
        self.given[id_] += 1
        events: list[Event] = [Delta(request_id=id_, row=0, text=text[at], token_ids=(at,))]
        if self.given[id_] == min(len(text), request.max_tokens):
            end = RowDone(request_id=id_, row=0, finish_reason="length", n_input=1, n_generated=at + 1)
            events += [end, Done(request_id=id_)]
        return events


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    return str(tmp_path / "engine.sock")


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()


class SlowStore:
    """A store whose answers the test releases; counts the fetches of each content."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.released: dict[str, threading.Event] = defaultdict(threading.Event)
        self.asked: list[Wanted] = []
        self.expire: list[Callable[[], None]] = []
        """The timers that have not been cancelled."""

    def load(self, wanted: Wanted) -> Any:
        self.asked.append(wanted)
        assert self.released[wanted.sha256].wait(30)
        answer = self.answers.get(wanted.sha256, f"content of {wanted.sha256}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def timer(self, _seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        self.expire.append(call)
        return lambda: self.expire.remove(call)


@pytest.fixture
def slow_store() -> Iterator[SlowStore]:
    made = SlowStore()
    yield made
    for event in made.released.values():
        event.set()


@pytest.fixture
def fetches(slow_store: SlowStore) -> PromptFetches[Any]:
    return PromptFetches(slow_store.load, timeout_s=30, max_threads=3, timer=slow_store.timer)


@pytest.fixture
def loop(socket_path: str, engine: EchoEngine, fetches: PromptFetches[Any], tmp_path: Path) -> Iterator[EngineLoop]:
    results = ResultWriter(tmp_path / "results", inline_bytes=1000)
    served = ServedModel(engine=engine, card={"n_layers": 3}, prompts=fetches)
    made = EngineLoop(socket_path, served={"m": served}, results=results, generation=5)
    yield made
    made.close()
