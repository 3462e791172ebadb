"""Several engine processes as one: each request goes to an engine that hosts its model.

Requests with the same prompt go to the same engine, which has compiled it, unless that engine has more than its share of the
pending requests: consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, arXiv 1608.01350), with ranks by
rendezvous hashing. When an engine is lost, only its own requests fail, and only its own prompts move to other engines.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from service.engine.requests import Capture, Detokenize, Estimate, Tokenize
from service.hosting.ipc.engine_client import EngineClient, EngineStatus, Exchange
from service.hosting.ipc.messages import CompareStates, EngineState, ExportPrompt, Submit, Tokenized
from service.hosting.ipc.usage import UsageTally

BOUND: Final = 1.25
"""How many times the mean number of pending requests an engine may have before a request goes to the next one in rank."""

FREE: Final = 8
"""Pending requests that an engine may always have: a batch of a few requests is no load worth compiling a prompt again."""


class EnginePool:
    """The clients of all engine processes of a service, with the interface of one :class:`EngineClient`.

    Args:
        engines: at least one, in the order of their numbers.
        models: names of all models that they are to host.
    """

    def __init__(self, engines: Sequence[EngineClient], *, models: Collection[str]) -> None:
        self.engines = tuple(engines)
        self._models = frozenset(models)

    @property
    def state(self) -> EngineState | None:
        """The models of all engines that have been ready; None before the first one is.

        Generation and process are those of the first of them; ``stats`` and ``statistics`` are read by engine.
        """
        states = [engine.state for engine in self.engines if engine.state is not None]
        return _merged(states) if states else None

    @property
    def status(self) -> EngineStatus:
        """ "ok" while each model has a connected engine, "starting" until all engines have been ready once, else "lost"."""
        ready = {model for engine in self.engines if engine.status == "ok" for model in _models(engine)}
        if ready >= self._models:
            return "ok"
        return "starting" if any(engine.status == "starting" for engine in self.engines) else "lost"

    @property
    def n_pending(self) -> int:
        """Number of requests that have not ended."""
        return sum(engine.n_pending for engine in self.engines)

    @property
    def draining(self) -> bool:
        """Whether the service stops; requests are still accepted."""
        return self.engines[0].draining

    @property
    def observer(self) -> Callable[[Submit, UsageTally], Submit]:
        """See :class:`EngineClient`."""
        return self.engines[0].observer

    @observer.setter
    def observer(self, value: Callable[[Submit, UsageTally], Submit]) -> None:
        for engine in self.engines:
            engine.observer = value

    def drain(self) -> None:
        """The service stops."""
        for engine in self.engines:
            engine.drain()

    def require_engine(self) -> EngineState:
        """The models of the connected engines.

        Raises:
            EngineUnavailable: all engines are starting or lost.
        """
        states = [engine.require_engine() for engine in self.engines if engine.status == "ok"]
        return _merged(states) if states else self.engines[0].require_engine()

    def last_state(self) -> EngineState:
        """The models of all engines that have been ready, even if they are lost now.

        Raises:
            EngineUnavailable: no engine has been ready yet.
        """
        return self.state or self.engines[0].require_engine()

    def deadline_in(self, seconds: float) -> float:
        """The deadline ``seconds`` from now, on the clients' clock."""
        return self.engines[0].deadline_in(seconds)

    @asynccontextmanager
    async def open(self, job: Submit | ExportPrompt | CompareStates, *, deadline_s: float) -> AsyncIterator[Exchange]:
        """Send a request to the engine of its prompt; see :meth:`EngineClient.open`."""
        choice = None if isinstance(job, CompareStates) else job.request.prompt
        engine = self.engine_for(job.model, prompt=None if choice is None else repr(choice.parts))
        async with engine.open(job, deadline_s=deadline_s) as exchange:
            yield exchange

    async def estimate(self, model: str, *, request: Capture, deadline_s: float) -> Estimate:
        """The cost of a capture, estimated by an engine."""
        return await self.engine_for(model).estimate(model, request=request, deadline_s=deadline_s)

    async def call_tokenizer(self, model: str, *, request: Tokenize | Detokenize, deadline_s: float) -> Tokenized:
        """Convert texts to tokens, or tokens to a text, with the tokenizer of a model."""
        return await self.engine_for(model).call_tokenizer(model, request=request, deadline_s=deadline_s)

    def engine_for(self, model: str, *, prompt: str | None = None) -> EngineClient:
        """The engine that a request goes to; one that is lost if no other engine hosts the model.

        Args:
            prompt: identifies the prompt; None: the engine with the fewest pending requests.
        """
        hosts = [(number, engine) for number, engine in enumerate(self.engines) if model in _models(engine)]
        ready = [host for host in hosts if host[1].status == "ok"]
        if not ready:
            return (hosts or list(enumerate(self.engines)))[0][1]
        if prompt is None:
            return min(ready, key=lambda host: host[1].n_pending)[1]
        ranked = sorted(ready, key=lambda host: _weight(host[0], prompt), reverse=True)
        n_pending = sum(engine.n_pending for _, engine in ready)
        bound = max(FREE, math.ceil(BOUND * (n_pending + 1) / len(ready)))
        return next((engine for _, engine in ranked if engine.n_pending < bound), ranked[0][1])


def _models(engine: EngineClient) -> Mapping[str, Any]:
    return {} if engine.state is None else engine.state.models


def _weight(number: int, prompt: str) -> bytes:
    return hashlib.blake2b(f"{number}:{prompt}".encode(), digest_size=8).digest()


def _merged(states: Sequence[EngineState]) -> EngineState:
    first = states[0]
    if len(states) == 1:
        return first
    models: dict[str, Mapping[str, Any]] = {}
    for state in reversed(states):
        models |= state.models
    return EngineState(generation=first.generation, pid=first.pid, models=models, stats={}, statistics={})
