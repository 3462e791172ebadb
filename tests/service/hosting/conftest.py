"""A small deterministic engine with the interface of the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from service.engine.requests import (
    Capture,
    Delta,
    Detokenize,
    Done,
    Estimate,
    Event,
    Failed,
    Generate,
    RowDone,
    Tensors,
    Tokenize,
)
from service.engine.statistics import EngineStatistics, RequestTimes
from service.errors import InvalidRequest
from service.hosting.engine_process.engine_loop import EngineLoop, ServedModel
from service.hosting.ipc.tensor_results import ResultWriter


@dataclass
class EchoEngine:
    """Each step gives every request its next letter; a capture takes one step. Some inputs cause errors."""

    jobs: dict[str, Generate | Capture] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    arrived_s: list[float | None] = field(default_factory=list)
    n_broken_steps: int = 0
    n_steps: int = 0

    @property
    def has_work(self) -> bool:
        return bool(self.jobs)

    def submit(self, request: Generate | Capture, *, arrived_s: float | None = None) -> tuple[int, ...]:
        if request.inputs == ("refuse",):
            raise InvalidRequest("refused", loc=("inputs",))
        if request.inputs == ("crash",):
            raise RuntimeError("/secret")
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

    def estimate(self, request: Capture) -> Estimate:
        return Estimate(n_tokens=len(request.inputs), n_bytes=2, seconds=0.5)

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


@pytest.fixture
def loop(socket_path: str, engine: EchoEngine, tmp_path: Path) -> Iterator[EngineLoop]:
    results = ResultWriter(tmp_path / "results", inline_bytes=1000)
    made = EngineLoop(
        socket_path, served={"m": ServedModel(engine=engine, card={"n_layers": 3})}, results=results, generation=5
    )
    yield made
    made.close()
