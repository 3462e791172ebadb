"""Loop of the engine process: receive messages, step each engine that has work, send the results.

It depends on neither LitServe nor HTTP. One thread runs it; prompts are fetched and large results are written by others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from service.engine.requests import Capture, Done, Event, Failed, Tokenize
from service.errors import AtlasError, EngineUnavailable, NotFound
from service.hosting.engine_process.chat_limit import with_chat_limit
from service.hosting.engine_process.pending import Fetched, Pending, Prompted
from service.hosting.engine_process.prompt_fetches import Wanted
from service.hosting.engine_process.replies import Replies, failed
from service.hosting.engine_process.request_spans import RequestSpans
from service.hosting.engine_process.request_tensors import attach_values
from service.hosting.engine_process.served_model import Contents, EngineLike, ServedModel
from service.hosting.ipc.messages import (
    CallTokenizer,
    Cancel,
    CompareStates,
    EngineState,
    EstimateCost,
    Estimated,
    ExportPrompt,
    Submit,
    Tokenized,
    Update,
)
from service.hosting.ipc.tensor_results import ResultWriter
from service.hosting.ipc.transport import Disconnected, EngineEndpoint, Posted, Received

if TYPE_CHECKING:
    from service.engine.prompts.prompt import Prompt

_log = structlog.get_logger(__name__)

_STATS_EVERY_S = 1.0
_IDLE_AFTER_S = 0.05
_MAX_CONSECUTIVE_FAULTS = 3
_NO_CONTENTS: Contents = {}


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
        self._generation = generation
        self._clock = clock
        self._spans = spans
        if spans is not None:
            for one in served.values():
                one.engine.watch(spans.note_times)
        self._pending: dict[str, Pending] = {}
        self._fetching: dict[str, int] = {}  # connections of the requests whose prompts are being fetched
        self._faults = dict.fromkeys(served, 0)
        self._state_at_s = clock()
        self._state_is_final = True
        self._state = self._describe()
        self._endpoint = EngineEndpoint(socket_path, first_message=lambda: self._state, clock=clock)
        self._replies = Replies(self._endpoint, results=results)

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
        self._replies.close()

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

    def _handle(self, incoming: Received | Disconnected | Posted) -> None:
        connection_id = incoming.connection_id
        if isinstance(incoming, Disconnected):
            fetching = [key for key, one in self._fetching.items() if one == connection_id]
            for request_id in [
                key for key, one in self._pending.items() if one.connection_id == connection_id
            ] + fetching:
                self._cancel(request_id)
        elif isinstance(incoming, Posted):
            self._on_fetched(incoming.event, connection_id=connection_id)
        elif isinstance(incoming.message, Cancel):
            self._cancel(incoming.message.request_id)
        elif isinstance(incoming.message, CallTokenizer):
            self._answer(incoming.message, connection_id=connection_id)
        elif isinstance(incoming.message, CompareStates):
            self._export(incoming.message, contents=_NO_CONTENTS, connection_id=connection_id)
        else:
            self._fetch_prompt(incoming.message, connection_id=connection_id, at_s=incoming.at_s)

    def _fetch_prompt(self, message: Prompted, *, connection_id: int, at_s: float) -> None:
        """Run a message, at once if the engine has its prompt, else when the prompt has been fetched."""
        request_id, choice = message.request.request_id, message.request.prompt
        if self._spans is not None and isinstance(message, Submit):
            self._spans.submitted(message, arrived_s=at_s)
        try:
            served = self._find(message.model)
            missing = served.engine.missing(choice)
        except Exception as error:
            self._refuse(request_id, error, connection_id=connection_id)
            return
        if choice is None or not missing:
            self._run(message, contents=_NO_CONTENTS, connection_id=connection_id, at_s=at_s)
            return
        self._fetching[request_id] = connection_id
        refs = dict(zip((sha256 for sha256, _ in choice.parts), choice.refs, strict=False))

        def post(outcome: Mapping[str, Prompt] | AtlasError) -> None:
            self._endpoint.post(Fetched(message=message, outcome=outcome, at_s=at_s), connection_id=connection_id)

        served.prompts.fetch([Wanted(sha256=sha256, ref=refs.get(sha256)) for sha256 in missing], on_done=post)

    def _on_fetched(self, fetched: Fetched, *, connection_id: int) -> None:
        request_id = fetched.message.request.request_id
        if self._fetching.pop(request_id, None) is None:
            return  # cancelled meanwhile
        if isinstance(fetched.outcome, AtlasError):
            self._refuse(request_id, fetched.outcome, connection_id=connection_id)
        else:
            self._run(fetched.message, contents=fetched.outcome, connection_id=connection_id, at_s=fetched.at_s)

    def _run(self, message: Prompted, *, contents: Contents, connection_id: int, at_s: float) -> None:
        if isinstance(message, EstimateCost):
            self._answer(message, contents=contents, connection_id=connection_id)
        elif isinstance(message, ExportPrompt):
            self._export(message, contents=contents, connection_id=connection_id)
        else:
            self._submit(message, contents=contents, connection_id=connection_id, at_s=at_s)

    def _submit(self, job: Submit, *, contents: Contents, connection_id: int, at_s: float) -> None:
        request_id = job.request.request_id
        try:
            served = self._find(job.model)
            request = with_chat_limit(attach_values(job), n_context=job.n_context, count_chat=served.count_chat)
            n_input = served.engine.submit(request, contents=contents, arrived_s=at_s)
        except Exception as error:
            self._refuse(request_id, error, connection_id=connection_id)
        else:
            self._pending[request_id] = Pending(
                connection_id=connection_id, model=job.model, metadata=job.metadata, n_input=n_input
            )

    def _refuse(self, request_id: str, error: Exception, *, connection_id: int) -> None:
        end = failed(request_id, error)
        self._finish_spans(end)
        self._send(request_id, end, connection_id=connection_id)

    def _answer(
        self, message: EstimateCost | CallTokenizer, *, contents: Contents = _NO_CONTENTS, connection_id: int
    ) -> None:
        """Answer a message that needs no step of the engine."""
        request_id = message.request.request_id
        update: Update
        try:
            engine, request = self._find(message.model).engine, message.request
            if isinstance(request, Capture):
                update = Estimated(estimate=engine.estimate(request, contents=contents))
            elif isinstance(request, Tokenize):
                update = Tokenized(token_ids=engine.tokenize(request))
            else:
                update = Tokenized(text=engine.detokenize(request))
        except Exception as error:
            update = failed(request_id, error)
        self._send(request_id, update, connection_id=connection_id)

    def _export(self, message: ExportPrompt | CompareStates, *, contents: Contents, connection_id: int) -> None:
        request_id = message.request.request_id
        event: Event
        try:
            event = Done(request_id=request_id, result=self._find(message.model).tensors_of(message, contents=contents))
        except Exception as error:
            event = failed(request_id, error)
        self._replies.send_events(request_id, [event], metadata=message.metadata, connection_id=connection_id)

    def _cancel(self, request_id: str) -> None:
        self._fetching.pop(request_id, None)
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
            self._refuse(request_id, lost, connection_id=pending.connection_id)

    def _deliver(self, events: Sequence[Event]) -> None:
        grouped: dict[str, list[Event]] = {}
        for event in events:
            grouped.setdefault(event.request_id, []).append(event)
        for request_id, group in grouped.items():
            if request_id in self._pending:
                self._reply(request_id, group)

    def _reply(self, request_id: str, events: Sequence[Event]) -> None:
        pending = self._pending[request_id]
        if isinstance(events[-1], Done | Failed):
            del self._pending[request_id]
            self._finish_spans(events[-1])
        self._replies.send_events(
            request_id,
            events,
            metadata=pending.metadata,
            connection_id=pending.connection_id,
            n_input=pending.n_input,
        )
        pending.n_input = None

    def _finish_spans(self, end: Done | Failed) -> None:
        if self._spans is not None:
            self._spans.finish(end.request_id, error=end.error if isinstance(end, Failed) else None)

    def _send(self, request_id: str, update: Update, *, connection_id: int) -> None:
        self._replies.send(request_id, [update], connection_id=connection_id)

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
            stats={name: served.stats() for name, served in self._served.items()},
            statistics={name: served.engine.statistics() for name, served in self._served.items()},
        )
