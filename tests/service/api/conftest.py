"""The application over a real engine client and store, and an engine that answers from a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from service.api.services import Services
from service.app import create_app, create_services
from service.engine.requests import Capture, Delta, Estimate, Failed, Generate, RowDone, Tokenize, TokenLogprob
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.messages import (
    CallTokenizer,
    Cancel,
    CompareStates,
    EngineState,
    EstimateCost,
    Estimated,
    ExportPrompt,
    Finished,
    FromApi,
    Reply,
    StoredResult,
    Submit,
    Tokenized,
    Update,
)
from service.settings import Settings
from service.store.prompts.checks import BaseShape

Script = Callable[[Submit | EstimateCost], Sequence[Update]]

CARD: dict[str, Any] = {
    "name": "demo",
    "architecture": "LlamaForCausalLM",
    "n_layers": 3,
    "d_model": 5,
    "n_heads": 2,
    "n_kv_heads": 1,
    "d_head": 7,
    "vocab_size": 97,
    "n_positions": 64,
    "dtype": "float32",
    "dtype_reason": "as set",
    "device": "cpu",
    "revision": "rev-demo",
    "attention": "test",
    "sites": ("embed", "resid_post"),
    "has_chat_template": True,
    "versions": {"torch": "2"},
}
DEMO = BaseShape(name="demo", revision="rev-demo", n_layers=3, d_model=5, n_kv_heads=1, d_head=7, n_positions=64)
STATE = EngineState(
    generation=1,
    pid=7,
    models={"demo": CARD, "other": {**CARD, "name": "other", "revision": "rev-other", "has_chat_template": False}},
    stats={"demo": {"n_tokens": 11.0, "n_running": 2.0}, "other": {"n_tokens": 13.0, "n_running": 0.0}},
)


@dataclass
class ScriptedEnd:
    """Stands where the connection to the engine stands; answers each request in a later turn of the loop."""

    script: Script
    engine: EngineClient | None = None
    connected: bool = True
    received: list[FromApi] = field(default_factory=list)
    export: Callable[[ExportPrompt], Update] = lambda message: keys_values(message)

    def send(self, message: FromApi) -> None:
        self.received.append(message)
        if not isinstance(message, Cancel):
            asyncio.get_running_loop().call_soon(self._answer, message)

    def _answer(self, message: Submit | EstimateCost | ExportPrompt | CompareStates | CallTokenizer) -> None:
        assert self.engine is not None
        updates: tuple[Update, ...]
        if isinstance(message, CallTokenizer):
            updates = (tokenize(message),)
        elif isinstance(message, ExportPrompt):
            updates = (self.export(message),)
        elif isinstance(message, CompareStates):
            updates = (compared(message),)
        else:
            updates = tuple(self.script(message))
        n_input = None
        if isinstance(message, Submit) and not isinstance(updates[0], Failed):
            n_input = (2,) * max(1, len(message.request.inputs))
        self.engine.on_message(Reply(request_id=message.request.request_id, updates=updates, n_input=n_input))

    @property
    def submitted(self) -> list[Submit]:
        return [message for message in self.received if isinstance(message, Submit)]


def echo(message: Submit | EstimateCost) -> Sequence[Update]:
    """Each text comes back with an exclamation mark; captures are a small tensor."""
    if isinstance(message, EstimateCost):
        return [Estimated(estimate=Estimate(n_tokens=3, n_bytes=60, seconds=0.5))]
    request = message.request
    if isinstance(request, Capture) or request.capture is not None:
        return [Finished(result=tensors({"resid_post.1": np.ones((2, 5), np.float32)}, message.metadata))]
    return [*_rows(request), Finished()]


def tokenize(message: CallTokenizer) -> Tokenized:
    """One token per character: its code point."""
    if isinstance(message.request, Tokenize):
        return Tokenized(token_ids=tuple(tuple(map(ord, text)) for text in message.request.texts))
    return Tokenized(text="".join(map(chr, message.request.token_ids)))


def keys_values(message: ExportPrompt) -> Finished:
    """Keys and values of zeros."""
    arrays = {name: np.zeros((1, 1, 2, 7), np.float32) for name in ("keys.0", "values.0")}
    return Finished(result=tensors(arrays, message.metadata))


def compared(message: CompareStates) -> Finished:
    """The sums of the states, NaN where those of the others are zero."""
    states, others = np.asarray(message.request.states), np.asarray(message.request.others)
    kl = np.where(others.any(1), states.sum(1), np.nan).astype(np.float32)
    return Finished(result=tensors({"kl": kl}, message.metadata))


def tensors(arrays: dict[str, Any], metadata: Any) -> StoredResult:
    data = save(arrays, metadata={"promptatlas": json.dumps(dict(metadata))})
    return StoredResult(n_bytes=len(data), data=data)


def _rows(request: Generate) -> Iterator[Update]:
    texts = [str(item) for item in request.inputs] or [str((request.messages or ({},))[-1].get("content"))]
    for row in range(len(texts) * request.n):
        text = f"{texts[row // request.n]}!{row}"
        token = TokenLogprob(token_id=3, text=text, text_offset=0, logprob=-0.5, top=((4, "z", -0.25),))
        logprobs = () if request.logprobs is None else (token,)
        yield Delta(request_id=request.request_id, row=row, text=text, token_ids=(3,), logprobs=logprobs)
        yield RowDone(request_id=request.request_id, row=row, finish_reason="length", n_input=2, n_generated=1)


@dataclass
class World:
    """One application under test."""

    client: TestClient
    engine: EngineClient
    end: ScriptedEnd
    services: Services


OpenWorld = Callable[..., World]


@pytest.fixture
def open_world(tmp_path: Path) -> Iterator[OpenWorld]:
    """Makes an application: ``open_world(script=…, ready=True, **settings)``."""
    clients: list[TestClient] = []

    def make(*, script: Script = echo, ready: bool = True, max_pending: int = 8, **settings: Any) -> World:
        end = ScriptedEnd(script)
        engine = EngineClient(end, max_pending=max_pending)
        end.engine = engine
        if ready:
            engine.on_message(STATE)
        services = create_services(Settings(**{"home": str(tmp_path / "store"), **settings}), engines=[engine])
        client = TestClient(create_app(services), base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return World(client=client, engine=engine, end=end, services=services)

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world()
