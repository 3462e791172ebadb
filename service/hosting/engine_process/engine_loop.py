"""Loop of the engine process: receive messages, step each engine that has work, send the results.

It depends on neither LitServe nor HTTP. One thread runs it; only large results are written by another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog

from service.engine.requests import Capture, Done, Event, Failed, Tensors, Tokenize
from service.errors import AtlasError, EngineUnavailable, NotFound
from service.hosting.engine_process.chat_limit import with_chat_limit
from service.hosting.engine_process.request_spans import RequestSpans
from service.hosting.engine_process.request_tensors import attach_values
from service.hosting.engine_process.served_model import EngineLike, ServedModel
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
    Update,
)
from service.hosting.ipc.tensor_results import ResultWriter, discard
from service.hosting.ipc.transport import Disconnected, EngineEndpoint, Received

__all__ = ["EngineLoop", "ServedModel"]

_log = structlog.get_logger(__name__)

_STATS_EVERY_S = 1.0
_IDLE_AFTER_S = 0.05
_MAX_CONSECUTIVE_FAULTS = 3


@dataclass(kw_only=True)
class _Pending:
    connection_id: int
    model: str
    metadata: Mapping[str, Any]
    n_input: tuple[int, ...] | None  # None after the first reply, which contains it


class EngineLoop:
    """Runs the engines of one process.

    Args:
        socket_path: socket for API processes, created here, so that a client that connects finds all models loaded.
        served: by model name.
        results: writes tensor results.
        generation: 1 for the first engine process of a service, one more for each that replaces it.
        clock: monotonic seconds.
        spans: makes the spans of traced requests; None without traces.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        served: Mapping[str, ServedModel],
        results: ResultWriter,
        generation: int,
        clock: Callable[[], float] = time.monotonic,
        spans: RequestSpans | None = None,
    ) -> None:
        self._served = served
        self._results = results
        self._generation = generation
        self._clock = clock
        self._spans = spans
        if spans is not None:
            for one in served.values():
                one.engine.watch(spans.note_times)
        self._pending: dict[str, _Pending] = {}
        self._faults = dict.fromkeys(served, 0)
        self._state_at_s = clock()
        self._state_is_final = True
        self._state = self._describe()
        self._result_writers = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._endpoint = EngineEndpoint(socket_path, first_message=lambda: self._state, clock=clock)

    def run_once(self) -> None:
        """Receive all messages, waiting for one if no engine has work, then run one step of each engine."""
        self._receive(block=not self._has_work)
        for name, served in self._served.items():
            if served.engine.has_work:
                self._state_is_final = False
                self._step(name, served.engine)
        if self._clock() - self._state_at_s >= _STATS_EVERY_S:
            self._publish_state()

    def close(self) -> None:
        """Close all connections and wait for results that are being written."""
        self._endpoint.close()
        self._result_writers.shutdown(wait=True)

    @property
    def _has_work(self) -> bool:
        return any(served.engine.has_work for served in self._served.values())

    # --- incoming messages ---

    def _receive(self, *, block: bool) -> None:
        # An engine that stays idle is not shown as busy, and one that answers short requests sends no state after each.
        incoming = self._endpoint.receive(block=block, timeout_s=None if self._state_is_final else _IDLE_AFTER_S)
        if block and incoming is None:
            self._publish_state()
        while incoming is not None:
            self._handle(incoming)
            incoming = self._endpoint.receive(block=False)

    def _handle(self, incoming: Received | Disconnected) -> None:
        connection_id = incoming.connection_id
        if isinstance(incoming, Disconnected):
            for request_id in [key for key, one in self._pending.items() if one.connection_id == connection_id]:
                self._cancel(request_id)
        elif isinstance(incoming.message, Cancel):
            self._cancel(incoming.message.request_id)
        elif isinstance(incoming.message, Submit):
            self._submit(incoming.message, connection_id=connection_id, at_s=incoming.at_s)
        else:
            self._answer(incoming.message, connection_id=connection_id)

    def _submit(self, job: Submit, *, connection_id: int, at_s: float) -> None:
        request_id = job.request.request_id
        if self._spans is not None:
            self._spans.submitted(job, arrived_s=at_s)
        try:
            served = self._find(job.model)
            request = attach_values(job)
            request = with_chat_limit(request, n_context=job.n_context, count_chat=served.count_chat)
            n_input = served.engine.submit(request, arrived_s=at_s)
        except Exception as error:
            failed = _failed(request_id, error)
            self._finish_spans(failed)
            self._send(request_id, [failed], connection_id=connection_id)
        else:
            self._pending[request_id] = _Pending(
                connection_id=connection_id, model=job.model, metadata=job.metadata, n_input=n_input
            )

    def _answer(self, message: EstimateCost | CallTokenizer, *, connection_id: int) -> None:
        """Answer a message that needs no step of the engine."""
        request_id = message.request.request_id
        update: Update
        try:
            engine, request = self._find(message.model).engine, message.request
            if isinstance(request, Capture):
                update = Estimated(estimate=engine.estimate(request))
            elif isinstance(request, Tokenize):
                update = Tokenized(token_ids=engine.tokenize(request))
            else:
                update = Tokenized(text=engine.detokenize(request))
        except Exception as error:
            update = _failed(request_id, error)
        self._send(request_id, [update], connection_id=connection_id)

    def _cancel(self, request_id: str) -> None:
        pending = self._pending.pop(request_id, None)
        if pending is not None:
            self._served[pending.model].engine.cancel(request_id)
            self._finish_spans(Done(request_id=request_id))

    def _find(self, model: str) -> ServedModel:
        served = self._served.get(model)
        if served is None:
            raise NotFound(f"No model {model!r} is hosted here.")
        return served

    # --- one step and its results ---

    def _step(self, model: str, engine: EngineLike) -> None:
        try:
            events = engine.step()
        except Exception:
            self._recover_from_fault(model, engine)
        else:
            self._faults[model] = 0
            self._deliver(events)

    def _recover_from_fault(self, model: str, engine: EngineLike) -> None:
        _log.exception("engine step failed", model=model)
        self._faults[model] += 1
        if self._faults[model] >= _MAX_CONSECUTIVE_FAULTS:
            # Every step of this process fails, for example because the device is lost: end, and be restarted.
            raise
        lost = EngineUnavailable("The engine failed in the middle of this request.", retry_after_s=1)
        for request_id in [key for key, pending in self._pending.items() if pending.model == model]:
            pending = self._pending.pop(request_id)
            engine.cancel(request_id, has_failed=True)
            failed = Failed(request_id=request_id, error=lost)
            self._finish_spans(failed)
            self._send(request_id, [failed], connection_id=pending.connection_id)

    def _deliver(self, events: Sequence[Event]) -> None:
        grouped: dict[str, list[Event]] = {}
        for event in events:
            grouped.setdefault(event.request_id, []).append(event)
        for request_id, group in grouped.items():
            if request_id in self._pending:
                self._reply(request_id, group)

    def _reply(self, request_id: str, events: Sequence[Event]) -> None:
        pending = self._pending[request_id]
        updates: list[Update] = []
        for event in events:
            if not isinstance(event, Done):
                updates.append(event)
            elif event.result is None:
                updates.append(Finished())
            elif self._results.is_small(event.result):
                updates.append(self._write(request_id, event.result, pending.metadata))
            else:
                self._result_writers.submit(self._write_and_send, request_id, event.result, pending)
        if isinstance(events[-1], Done | Failed):
            del self._pending[request_id]
            self._finish_spans(events[-1])
        if updates:
            self._send(request_id, updates, connection_id=pending.connection_id, n_input=pending.n_input)
            pending.n_input = None

    def _finish_spans(self, end: Done | Failed) -> None:
        if self._spans is not None:
            self._spans.finish(end.request_id, error=end.error if isinstance(end, Failed) else None)

    def _write(self, request_id: str, result: Tensors, metadata: Mapping[str, Any]) -> Finished | Failed:
        try:
            return Finished(result=self._results.write(result, metadata=metadata))
        except Exception as error:
            return _failed(request_id, error)

    def _write_and_send(self, request_id: str, result: Tensors, pending: _Pending) -> None:
        update = self._write(request_id, result, pending.metadata)
        self._send(request_id, [update], connection_id=pending.connection_id, n_input=pending.n_input)

    def _send(
        self,
        request_id: str,
        updates: Sequence[Update],
        *,
        connection_id: int,
        n_input: tuple[int, ...] | None = None,
    ) -> None:
        reply = Reply(request_id=request_id, updates=tuple(updates), n_input=n_input)
        if not self._endpoint.send(reply, connection_id=connection_id):
            for update in updates:
                if isinstance(update, Finished) and update.result is not None:
                    discard(update.result)

    # --- state of the process ---

    def _publish_state(self) -> None:
        self._state_at_s, self._state_is_final = self._clock(), not self._has_work
        self._state = self._describe()
        self._endpoint.broadcast(self._state)

    def _describe(self) -> EngineState:
        return EngineState(
            generation=self._generation,
            pid=os.getpid(),
            models={name: dict(served.card) for name, served in self._served.items()},
            stats={name: dict(served.engine.stats()) for name, served in self._served.items()},
            statistics={name: served.engine.statistics() for name, served in self._served.items()},
        )


def _failed(request_id: str, error: Exception) -> Failed:
    if isinstance(error, AtlasError):
        return Failed(request_id=request_id, error=error)
    _log.error("request failed in the engine", request_id=request_id, exc_info=error)
    return Failed(request_id=request_id, error=AtlasError("The engine failed on this request."))
