"""The application and its engine in one process: real routes, real store, real engines, no other process.

The engine's loop runs in a thread and is connected by the socket that the service uses.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
from safetensors.numpy import save
from starlette.testclient import TestClient
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from service.app import create_app, create_services
from service.hosting.engine_process.engine_loader import load_served
from service.hosting.engine_process.engine_loop import EngineLoop
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.engine_connection import run_engine_client
from service.hosting.ipc.tensor_results import ResultWriter
from service.hosting.ipc.transport import ApiEndpoint
from service.queueing.queue import RunQueue
from service.settings import ModelSource, Settings
from tests.integration.running import wait_until
from tests.oracle.models import ARCHITECTURES, randomise
from tests.service.api.run_world import MemoryQueue
from tests.service.engine import tokenizers

N_POSITIONS = 128
N_LAYERS = 3
_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"

_BASES = {
    # Architecture and tokenizer; the second one puts a BOS in front of each text.
    "bytes": ("llama", tokenizers.byte_level, False),
    "fallback": ("gpt2", tokenizers.byte_fallback, True),
    "unigram": ("gemma3", tokenizers.metaspace, True),
}
BASES = tuple(_BASES)


@dataclass(frozen=True)
class Base:
    """A base model. shape of prompts: d_model, n_kv_heads and d_head; vocab_size of the tokenizer and the model."""

    name: str
    vocab_size: int
    d_model: int
    n_kv_heads: int
    d_head: int


@dataclass
class GeneratedWorld:
    """The client, the models and the stored prompts by base model.

    run_ids: a queued run and a cancelled one. n_sent, n_tests: numbers of requests and of completed tests so far.
    """

    client: TestClient
    bases: Mapping[str, Base]
    prompts: Mapping[str, tuple[str, ...]]
    settings: Settings
    run_ids: tuple[str, ...] = ()
    n_sent: int = 0
    n_tests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. From several threads, requests run in one batch."""
        with self._lock:
            self.n_sent += 1
        return cast(httpx.Response, self.client.request(method, path, **options))

    def post(self, path: str, body: Mapping[str, Any], *, tensors: bytes = b"") -> httpx.Response:
        """Send a JSON body, with tensors as a form."""
        if not tensors:
            return self.send("POST", path, json=body)
        files: Any = {"request": (None, json.dumps(body), "application/json"), "tensors": ("tensors", tensors)}
        return self.send("POST", path, files=files)


@contextlib.contextmanager
def open_world(folder: Path) -> Iterator[GeneratedWorld]:
    """Three small models of different architectures and tokenizers, with prompts of every kind, and a queue in memory."""
    sources = tuple(ModelSource(name=name, path=str(_save_base(name, folder / name))) for name in BASES)
    settings = Settings(
        home=str(folder / "store"), models=sources, device="cpu", max_batch=8, max_capture_bytes=8 << 20, workers=0
    )
    served = {source.name: load_served(source, settings=settings) for source in sources}
    socket_path = str(folder / "engine.sock")
    loop = EngineLoop(socket_path, served=served, results=ResultWriter(folder / "results"), generation=1)
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(loop, stop), name="engine", daemon=True)
    thread.start()
    endpoint = ApiEndpoint(socket_path)
    engine = EngineClient(endpoint, max_pending=settings.max_pending)
    services = replace(create_services(settings, engines=[engine]), queue=cast(RunQueue, MemoryQueue()))
    app = create_app(services, background=lambda: run_engine_client(engine, endpoint))
    try:
        with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
            wait_until(lambda: client.get("/ready").status_code == 200, why=lambda: client.get("/ready").text)
            bases = {name: _base_of(name, client) for name in BASES}
            prompts = {name: tuple(_upload_prompts(base, client)) for name, base in bases.items()}
            _upload_dataset(client)
            yield GeneratedWorld(client, bases, prompts, settings, _start_runs(client))
            stop.set()
    finally:
        # The end of the application's connection wakes the loop.
        stop.set()
        thread.join(10)
        loop.close()


def _run(loop: EngineLoop, stop: threading.Event) -> None:
    while not stop.is_set():
        loop.run_once()


def _save_base(name: str, folder: Path) -> Path:
    architecture, make_tokenizer, with_bos = _BASES[name]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer().backend_tokenizer, eos_token="</s>")
    tokenizer.bos_token = "<s>"
    if with_bos:
        bos = [("<s>", tokenizer.convert_tokens_to_ids("<s>"))]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=bos)
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    spec = ARCHITECTURES[architecture]
    config = AutoConfig.for_model(
        spec.model_type,
        **{**spec.config, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomise(model, seed=spec.seed)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder


def _base_of(name: str, client: TestClient) -> Base:
    card = client.get(f"/v1/models/{name}").json()
    d_head = card.get("d_head") or card["d_model"] // card["n_heads"]
    return Base(name, card["vocab_size"], card["d_model"], card["n_kv_heads"], d_head)


def _upload_prompts(base: Base, client: TestClient) -> Iterator[str]:
    rng = np.random.default_rng(len(base.name))

    def vectors(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    prefix = (N_LAYERS, 2, base.n_kv_heads, 2, base.d_head)
    forms: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "soft": ({"soft": vectors(3, base.d_model)}, {}),
        "soft-too": ({"soft": vectors(3, base.d_model)}, {}),
        "local": ({f"deep.{layer}": vectors(2, base.d_model) for layer in (1, 2)}, {"where": "local"}),
        "carried": ({"deep.1": vectors(2, base.d_model)}, {"where": "carried"}),
        "prefix": ({"prefix": vectors(*prefix)}, {}),
        "steering": ({"steering.1": vectors(base.d_model)}, {}),
    }
    for label, (tensors, more) in forms.items():
        kind = next(iter(tensors)).partition(".")[0]
        about = {"promptatlas": json.dumps({"kind": kind, "base": base.name, **more})}
        answer = client.post(
            "/v1/prompts",
            params={"name": f"{base.name}-{label}"},
            content=save(tensors, about),
            headers={"Content-Type": "application/vnd.safetensors"},
        )
        assert answer.status_code == 201, answer.text
        yield f"{base.name}-{label}"


def _upload_dataset(client: TestClient) -> None:
    splits = ["train", "train", "validation", "test"]
    lines = (json.dumps({"input": f"{n}+1=", "target": str(n + 1), "split": splits[n % 4]}) + "\n" for n in range(100))
    answer = client.post(
        "/v1/datasets",
        params={"name": "sums", "format": "jsonl"},
        content="".join(lines),
        headers={"Content-Type": "application/jsonl"},
    )
    assert answer.status_code == 201, answer.text


def _start_runs(client: TestClient) -> tuple[str, ...]:
    spec = {"model": "bytes", "dataset": "sums", "priors": [{"kind": "xavier"}]}
    answers = [client.post("/v1/runs", json={"kind": "tune", "spec": spec}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    queued, cancelled = (str(answer.json()["id"]) for answer in answers)
    assert client.post(f"/v1/runs/{cancelled}/cancel").status_code == 200
    return queued, cancelled
