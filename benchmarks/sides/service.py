"""The whole service over HTTP: a saved model, ``python -m service`` in a separate process, a pool of connections."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import safetensors.torch
import torch
from torch import Tensor

from benchmarks.sides.models import LlamaSize, ids_of_text, save_llama
from benchmarks.sides.processes import free_port, running
from benchmarks.sides.workload import CompletionTask
from service.engine.requests import CaptureSpec

MODEL = "benchmark"
_TIMEOUT_S = 600.0


@contextlib.contextmanager
def serving(size: LlamaSize) -> Iterator[str]:
    """Run the service with a random model and default settings; yields its URL."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        save_llama(size, Path(name))
        with serving_folder(Path(name)) as url:
            yield url


@contextlib.contextmanager
def serving_folder(model: Path, *, dtype: str = "float32") -> Iterator[str]:
    """Run the service with the model of a folder and default settings; yields its URL."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder, port = Path(name), free_port()
        environ = {
            "PROMPTATLAS_HOST": "127.0.0.1",
            "PROMPTATLAS_PORT": str(port),
            "PROMPTATLAS_HOME": str(folder / "home"),
            "PROMPTATLAS_MODELS": f"{MODEL}={model}",
            "PROMPTATLAS_WORKERS": "0",
            "PROMPTATLAS_DEVICE": "cpu",
            "PROMPTATLAS_DTYPE": dtype,
            "PROMPTATLAS_API_KEYS": "",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }
        url = f"http://127.0.0.1:{port}"
        with running("service", [], environ=environ, ready_url=f"{url}/ready", log=folder / "service.log"):
            yield url


def activations_body(texts: Sequence[Sequence[int]], *, spec: CaptureSpec) -> dict[str, Any]:
    """The JSON body that tasks ``POST /v1/activations`` for what ``spec`` says."""
    return {
        "model": MODEL,
        "inputs": [list(ids) for ids in texts],
        "sites": list(spec.sites),
        "layers": spec.layers if isinstance(spec.layers, str) else list(spec.layers),
        "positions": spec.positions,
        "dtype": spec.dtype,
    }


class CompletionService:
    """Completions, one connection per request."""

    def __init__(self, client: httpx.Client, pool: ThreadPoolExecutor) -> None:
        self._client = client
        self._pool = pool

    @classmethod
    @contextlib.contextmanager
    def start(
        cls, size: LlamaSize, *, prompts: Sequence[Tensor], n_connections: int = 64
    ) -> Iterator[CompletionService]:
        """A service with these soft prompts uploaded, as ``prompt-0``, ``prompt-1``, …"""
        with serving(size) as url, cls.connect(url, prompts=prompts, n_connections=n_connections) as service:
            yield service

    @classmethod
    @contextlib.contextmanager
    def connect(
        cls, url: str, *, prompts: Sequence[Tensor] = (), n_connections: int = 64
    ) -> Iterator[CompletionService]:
        """A running service, to which these soft prompts are uploaded."""
        limits = httpx.Limits(max_connections=n_connections, max_keepalive_connections=n_connections)
        with (
            httpx.Client(base_url=url, timeout=_TIMEOUT_S, limits=limits) as client,
            ThreadPoolExecutor(n_connections) as pool,
        ):
            for i, vectors in enumerate(prompts):
                _upload(client, f"prompt-{i}", vectors)
            yield cls(client, pool)

    def complete(self, tasks: Sequence[CompletionTask]) -> list[tuple[int, ...]]:
        """Greedy tokens of each request; all are sent at once."""
        return [ids_of_text(text) for text in self.texts(tasks)]

    def texts(self, tasks: Sequence[CompletionTask]) -> list[str]:
        """Greedy texts of each request, special tokens included; all are sent at once and none ends early."""
        return list(self._pool.map(self._complete_one, tasks))

    def _complete_one(self, task: CompletionTask) -> str:
        body: dict[str, Any] = {
            "model": MODEL,
            "prompt": list(task.ids),
            "max_tokens": task.n_new,
            "temperature": 0,
            "ignore_eos": True,
            "skip_special_tokens": False,
        }
        if task.prompt is not None:
            body["prompt_ref"] = f"prompt-{task.prompt}"
        answer = self._client.post("/v1/completions", json=body)
        _check(answer)
        text: str = answer.json()["choices"][0]["text"]
        return text


class CaptureService:
    """Activations, one request for all texts."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @classmethod
    @contextlib.contextmanager
    def start(cls, size: LlamaSize) -> Iterator[CaptureService]:
        """A service without prompts."""
        with serving(size) as url, cls.connect(url) as service:
            yield service

    @classmethod
    @contextlib.contextmanager
    def connect(cls, url: str) -> Iterator[CaptureService]:
        """A running service."""
        with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:
            yield cls(client)

    def capture(self, texts: Sequence[Sequence[int]], *, spec: CaptureSpec) -> Mapping[str, Tensor]:
        """Tensors of the response."""
        answer = self._client.post("/v1/activations", json=activations_body(texts, spec=spec))
        _check(answer)
        return safetensors.torch.load(answer.content)


def _upload(client: httpx.Client, name: str, vectors: Tensor) -> None:
    metadata = {"promptatlas": f'{{"kind": "soft", "base": "{MODEL}"}}'}
    data = safetensors.torch.save({"soft": vectors}, metadata=metadata)
    headers = {"Content-Type": "application/vnd.safetensors"}
    _check(client.post("/v1/prompts", params={"name": name}, content=data, headers=headers))


def _check(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise RuntimeError(
            f"{answer.request.url.path}: expected success, got {answer.status_code}: {answer.text[:500]}"
        )
