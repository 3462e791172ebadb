"""What the engine process does over and over: take messages in, step each engine that has work, send what happened.

Knows neither LitServe nor HTTP. One thread drives it; only the writing of large results happens beside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from service.engine.requests import Capture, Done, Estimate, Event, Failed, Generate, Tensors
from service.errors import AtlasError, NotFound, Unavailable
from service.hosting.engine_process.request_tensors import attach_values
from service.hosting.ipc.messages import Ask, Cancel, EngineState, Estimated, Finished, Happening, Reply, Submit
from service.hosting.ipc.tensor_results import ResultWriter, discard
from service.hosting.ipc.transport import EngineEnd, Gone, Received

_log = structlog.get_logger(__name__)

_STATS_EVERY_S = 1.0
_MAX_FAULTS_IN_A_ROW = 3


class EngineLike(Protocol):
    """What the driver needs of an engine: one model, one continuous batch."""

    @property
    def has_work(self) -> bool: ...
    def submit(self, request: Generate | Capture) -> None: ...
    def cancel(self, request_id: str) -> None: ...
    def step(self) -> list[Event]: ...
    def estimate(self, request: Capture) -> Estimate: ...
    def stats(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Served:
    """One engine with the fields of its model's card. count_chat: tokens of a chat, template and all."""

    engine: EngineLike
    card: Mapping[str, Any]
    count_chat: Callable[[Sequence[Mapping[str, str]]], int] | None = None


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    consumer: int
    model: str
    metadata: Mapping[str, Any]


class EngineLoop:
    """Drives the engines of one process.

    Args:
        socket_path: where API processes connect; it begins to exist here, so whoever connects finds models loaded.
        served: by model name.
        results: where tensor results go.
        generation: which engine process of the service this is.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        served: Mapping[str, Served],
        results: ResultWriter,
        generation: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served = served
        self._results = results
        self._generation = generation
        self._clock = clock
        self._tickets: dict[str, _Ticket] = {}
        self._faults = dict.fromkeys(served, 0)
        self._state_at_s = clock()
        self._state_is_final = True
        self._state = self._describe()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._end = EngineEnd(socket_path, greet=lambda: self._state)

    def turn(self) -> None:
        """Admit what has come (waiting for it when there is nothing else to do), then one step of each engine."""
        self._admit(block=not self._has_work)
        for name, served in self._served.items():
            if served.engine.has_work:
                self._step(name, served.engine)
        self._publish()

    def close(self) -> None:
        """Hang up on every API process."""
        self._end.close()
        self._writing.shutdown(wait=True)

    @property
    def _has_work(self) -> bool:
        return any(served.engine.has_work for served in self._served.values())

    # --- messages in ---

    def _admit(self, *, block: bool) -> None:
        incoming = self._end.receive(block=block)
        while incoming is not None:
            self._take(incoming)
            incoming = self._end.receive(block=False)

    def _take(self, incoming: Received | Gone) -> None:
        if isinstance(incoming, Gone):
            for request_id in [key for key, ticket in self._tickets.items() if ticket.consumer == incoming.consumer]:
                self._cancel(request_id)
        elif isinstance(incoming.message, Cancel):
            self._cancel(incoming.message.request_id)
        elif isinstance(incoming.message, Submit):
            self._submit(incoming.message, consumer=incoming.consumer)
        else:
            self._estimate(incoming.message, consumer=incoming.consumer)

    def _submit(self, job: Submit, *, consumer: int) -> None:
        request_id = job.request.request_id
        try:
            served = self._find(job.model)
            served.engine.submit(_with_limit(attach_values(job), n_context=job.n_context, served=served))
        except Exception as error:
            self._send(request_id, [_failed(request_id, error)], consumer=consumer)
        else:
            self._tickets[request_id] = _Ticket(consumer=consumer, model=job.model, metadata=job.metadata)

    def _estimate(self, question: Ask, *, consumer: int) -> None:
        request_id = question.request.request_id
        answer: Happening
        try:
            answer = Estimated(estimate=self._find(question.model).engine.estimate(question.request))
        except Exception as error:
            answer = _failed(request_id, error)
        self._send(request_id, [answer], consumer=consumer)

    def _cancel(self, request_id: str) -> None:
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            self._served[ticket.model].engine.cancel(request_id)

    def _find(self, model: str) -> Served:
        served = self._served.get(model)
        if served is None:
            raise NotFound(f"No model {model!r} is hosted here.")
        return served

    # --- one step, and what came of it ---

    def _step(self, model: str, engine: EngineLike) -> None:
        try:
            events = engine.step()
        except Exception:
            self._survive_fault(model, engine)
        else:
            self._faults[model] = 0
            self._deliver(events)

    def _survive_fault(self, model: str, engine: EngineLike) -> None:
        _log.exception("engine step failed", model=model)
        self._faults[model] += 1
        if self._faults[model] >= _MAX_FAULTS_IN_A_ROW:
            # A process whose every step fails (a lost device) is better replaced: leave, and be started anew.
            raise
        lost = Unavailable("The engine failed in the middle of this request.", retry_after_s=1)
        for request_id in [key for key, ticket in self._tickets.items() if ticket.model == model]:
            ticket = self._tickets.pop(request_id)
            engine.cancel(request_id)
            self._send(request_id, [Failed(request_id=request_id, error=lost)], consumer=ticket.consumer)

    def _deliver(self, events: Sequence[Event]) -> None:
        grouped: dict[str, list[Event]] = {}
        for event in events:
            grouped.setdefault(event.request_id, []).append(event)
        for request_id, group in grouped.items():
            if request_id in self._tickets:
                self._answer(request_id, group)

    def _answer(self, request_id: str, events: Sequence[Event]) -> None:
        ticket = self._tickets[request_id]
        happenings: list[Happening] = []
        for event in events:
            if not isinstance(event, Done):
                happenings.append(event)
            elif event.result is None:
                happenings.append(Finished())
            elif self._results.is_small(event.result):
                happenings.append(self._store(request_id, event.result, ticket.metadata))
            else:
                self._writing.submit(self._store_and_send, request_id, event.result, ticket)
        if isinstance(events[-1], Done | Failed):
            del self._tickets[request_id]
        if happenings:
            self._send(request_id, happenings, consumer=ticket.consumer)

    def _store(self, request_id: str, result: Tensors, metadata: Mapping[str, Any]) -> Finished | Failed:
        try:
            return Finished(result=self._results.write(result, metadata=metadata))
        except Exception as error:
            return _failed(request_id, error)

    def _store_and_send(self, request_id: str, result: Tensors, ticket: _Ticket) -> None:
        self._send(request_id, [self._store(request_id, result, ticket.metadata)], consumer=ticket.consumer)

    def _send(self, request_id: str, happenings: Sequence[Happening], *, consumer: int) -> None:
        delivered = self._end.send(Reply(request_id=request_id, happenings=tuple(happenings)), consumer=consumer)
        if not delivered:
            for happening in happenings:
                if isinstance(happening, Finished) and happening.result is not None:
                    discard(happening.result)

    # --- what the process says of itself ---

    def _publish(self) -> None:
        # Once a second while there is work, and once more when it ends, so that an idle engine is not shown as busy.
        now_s, idle = self._clock(), not self._has_work
        if now_s - self._state_at_s < _STATS_EVERY_S and not (idle and not self._state_is_final):
            self._state_is_final = self._state_is_final and idle
            return
        self._state_at_s, self._state_is_final = now_s, idle
        self._state = self._describe()
        self._end.broadcast(self._state)

    def _describe(self) -> EngineState:
        return EngineState(
            generation=self._generation,
            pid=os.getpid(),
            models={name: served.card for name, served in self._served.items()},
            stats={name: dict(served.engine.stats()) for name, served in self._served.items()},
        )


def _with_limit(request: Generate | Capture, *, n_context: int | None, served: Served) -> Generate | Capture:
    if n_context is None or not isinstance(request, Generate) or served.count_chat is None:
        return request
    n_left = n_context - served.count_chat(request.messages or ())
    return replace(request, max_tokens=max(1, n_left))


def _failed(request_id: str, error: Exception) -> Failed:
    if isinstance(error, AtlasError):
        return Failed(request_id=request_id, error=error)
    _log.error("request failed in the engine", request_id=request_id, exc_info=error)
    return Failed(request_id=request_id, error=AtlasError("The engine failed on this request."))
