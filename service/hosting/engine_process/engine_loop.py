"""Loop of the engine process: receive messages, step each engine that has work, send the results.

It depends on neither LitServe nor HTTP. One thread runs it; prompts are fetched and large results are written by others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from service.engine.requests import Capture, Done, Event, Failed, Tokenize
from service.errors import AtlasError, EngineUnavailable, NotFound
from service.hosting.engine_process.prompt_fetches import Wanted
from service.hosting.engine_process.replies import Replies, failed
from service.hosting.engine_process.request_tensors import attach_values
from service.hosting.engine_process.served_model import Contents, EngineLike, ServedModel
from service.hosting.ipc.messages import (
    CallTokenizer,
    Cancel,
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
_MAX_CONSECUTIVE_FAULTS = 3
_NO_CONTENTS: Contents = {}


Prompted = Submit | EstimateCost | ExportPrompt
"""Messages whose request may have a prompt."""


@dataclass(frozen=True, kw_only=True)
class _Pending:
    connection_id: int
    model: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Fetched:
    """The contents that a message needs have been fetched, or an error."""

    message: Prompted
    outcome: Mapping[str, Prompt] | AtlasError


class EngineLoop:
    """Runs the engines of one process.

    Args:
        socket_path: socket for API processes, created here, so that a client that connects finds all models loaded.
        served: by model name.
        results: writes tensor results.
        generation: 1 for the first engine process of a service, one more for each that replaces it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        served: Mapping[str, ServedModel],
        results: ResultWriter,
        generation: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served = served
        self._generation = generation
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._fetching: dict[str, int] = {}  # connections of the requests whose prompts are being fetched
        self._faults = dict.fromkeys(served, 0)
        self._state_at_s = clock()
        self._state_is_final = True
        self._state = self._describe()
        self._endpoint = EngineEndpoint(socket_path, first_message=lambda: self._state)
        self._replies = Replies(self._endpoint, results=results)

    def run_once(self) -> None:
        """Receive all messages, waiting for one if no engine has work, then run one step of each engine."""
        self._receive(block=not self._has_work)
        for name, served in self._served.items():
            if served.engine.has_work:
                self._step(name, served.engine)
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
        incoming = self._endpoint.receive(block=block)
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
        else:
            self._fetch_prompt(incoming.message, connection_id=connection_id)

    def _fetch_prompt(self, message: Prompted, *, connection_id: int) -> None:
        """Run a message, at once if the engine has its prompt, else when the prompt has been fetched."""
        request_id, choice = message.request.request_id, message.request.prompt
        try:
            served = self._find(message.model)
            missing = served.engine.missing(choice)
        except Exception as error:
            self._send(request_id, failed(request_id, error), connection_id=connection_id)
            return
        if choice is None or not missing:
            self._run(message, contents=_NO_CONTENTS, connection_id=connection_id)
            return
        self._fetching[request_id] = connection_id
        refs = dict(zip((sha256 for sha256, _ in choice.parts), choice.refs, strict=False))

        def post(outcome: Mapping[str, Prompt] | AtlasError) -> None:
            self._endpoint.post(_Fetched(message=message, outcome=outcome), connection_id=connection_id)

        served.prompts.fetch([Wanted(sha256=sha256, ref=refs.get(sha256)) for sha256 in missing], on_done=post)

    def _on_fetched(self, fetched: _Fetched, *, connection_id: int) -> None:
        request_id = fetched.message.request.request_id
        if self._fetching.pop(request_id, None) is None:
            return  # cancelled meanwhile
        if isinstance(fetched.outcome, AtlasError):
            self._send(request_id, failed(request_id, fetched.outcome), connection_id=connection_id)
        else:
            self._run(fetched.message, contents=fetched.outcome, connection_id=connection_id)

    def _run(self, message: Prompted, *, contents: Contents, connection_id: int) -> None:
        if isinstance(message, EstimateCost):
            self._answer(message, contents=contents, connection_id=connection_id)
        elif isinstance(message, ExportPrompt):
            self._export(message, contents=contents, connection_id=connection_id)
        else:
            self._submit(message, contents=contents, connection_id=connection_id)

    def _submit(self, job: Submit, *, contents: Contents, connection_id: int) -> None:
        request_id = job.request.request_id
        try:
            served = self._find(job.model)
            request = served.with_limit(attach_values(job), n_context=job.n_context)
            served.engine.submit(request, contents=contents)
        except Exception as error:
            self._send(request_id, failed(request_id, error), connection_id=connection_id)
        else:
            self._pending[request_id] = _Pending(connection_id=connection_id, model=job.model, metadata=job.metadata)

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

    def _export(self, message: ExportPrompt, *, contents: Contents, connection_id: int) -> None:
        request_id = message.request.request_id
        event: Event
        try:
            result = self._find(message.model).engine.keys_values(message.request, contents=contents)
            event = Done(request_id=request_id, result=result)
        except Exception as error:
            event = failed(request_id, error)
        self._replies.send_events(request_id, [event], metadata=message.metadata, connection_id=connection_id)

    def _cancel(self, request_id: str) -> None:
        self._fetching.pop(request_id, None)
        pending = self._pending.pop(request_id, None)
        if pending is not None:
            self._served[pending.model].engine.cancel(request_id)

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
            engine.cancel(request_id)
            self._send(request_id, Failed(request_id=request_id, error=lost), connection_id=pending.connection_id)

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
        self._replies.send_events(request_id, events, metadata=pending.metadata, connection_id=pending.connection_id)

    def _send(self, request_id: str, update: Update, *, connection_id: int) -> None:
        self._replies.send(request_id, [update], connection_id=connection_id)

    # --- state of the process ---

    def _publish_state(self) -> None:
        # Once a second while there is work, and once more when it ends, so that an idle engine is not shown as busy.
        now_s, idle = self._clock(), not self._has_work
        if now_s - self._state_at_s < _STATS_EVERY_S and not (idle and not self._state_is_final):
            self._state_is_final = self._state_is_final and idle
            return
        self._state_at_s, self._state_is_final = now_s, idle
        self._state = self._describe()
        self._endpoint.broadcast(self._state)

    def _describe(self) -> EngineState:
        return EngineState(
            generation=self._generation,
            pid=os.getpid(),
            models={name: dict(served.card) for name, served in self._served.items()},
            stats={name: served.stats() for name, served in self._served.items()},
        )
