"""Harvests on warm single-thread worker processes, and a loop with transformers."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from benchmarks.sides.models import build_llama, build_tokenizer
from service.engine.model.hosted_model import HostedModel
from service.hosting.processes.process_setup import keep_freed_memory
from service.queueing.intervals import Intervals
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from service.store.runs.outputs import Outputs
from workers.harvest.helper import help_harvest
from workers.harvest.run import harvest
from workers.harvest.shards.plan import PlanFile
from workers.running.attempt.coordination import open_coordinator
from workers.running.interface import Coordinator

MODEL, DATASET = "benchmark", "words"


@dataclass(frozen=True, kw_only=True)
class Field:
    """Task description for a process. size: of the model; layer: whose output is read."""

    size: Any
    home: str
    redis_url: str
    layer: int

    @property
    def spec(self) -> dict[str, Any]:
        """Of the run."""
        return {"model": MODEL, "dataset": DATASET, "sites": ["resid_post"], "layers": [self.layer], "reduce": "mean"}

    def artifacts(self) -> ArtifactStore:
        """The store."""
        return ArtifactStore(self.home)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: ``harvest``, ``help`` with the run, or ``loop``."""

    what: str
    run_id: str
    n_batch: int = 0


class WorkerProcess:
    """Context manager of a child process with a loaded model that executes tasks one by one."""

    def __init__(self, field: Field) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, field), daemon=True)

    def __enter__(self) -> WorkerProcess:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    def begin(self, task: Task) -> None:
        """Submit a task."""
        self._connection.send(task)

    def finish(self) -> float:
        """Wait for the task; returns its duration in seconds.

        Raises:
            RuntimeError: the process is gone.
        """
        while not self._connection.poll(0.01):
            if not self._process.is_alive():
                raise RuntimeError(f"the worker process ended with status {self._process.exitcode}.")
        seconds: float = self._connection.recv()
        return seconds


class BareRun:
    """A run without events, in a process with a loaded model; a :class:`workers.running.interface.SharedRunContext`."""

    name: str | None = None
    attempt = 1

    def __init__(self, field: Field, model: HostedModel, *, run_id: str) -> None:
        self.run_id = run_id
        self.spec: Mapping[str, Any] = field.spec
        self.settings = Settings(redis_url=field.redis_url)
        self.artifacts = field.artifacts()
        self.prompts = PromptStore(self.artifacts)
        self.datasets = DatasetStore(self.artifacts)
        self._model = model
        self._outputs = Outputs(self.artifacts, run_id=run_id)

    @cached_property
    def coordinator(self) -> Coordinator:
        return open_coordinator(self.run_id, settings=self.settings, timing=Intervals())

    def load_model(self, name: str) -> HostedModel:
        return self._model

    def progress(self, step: int, total: int) -> None: ...

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None: ...

    def log(self, text: str, *, level: str = "info") -> None: ...

    def count(self, name: str, amount: float = 1) -> None: ...

    def made_prompt(self, ref: str) -> None: ...

    def check(self) -> None: ...

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None: ...

    def load_checkpoint(self) -> Mapping[str, bytes] | None: ...

    def save_output(self, path: str, data: bytes) -> None:
        self._outputs.put(path, data)

    def read_output(self, path: str) -> bytes | None: ...


def upload_texts(field: Field, texts: Sequence[Sequence[int]], *, folder: Path) -> None:
    """Store the texts as a dataset."""
    file = folder / "words.jsonl"
    file.write_text("".join(json.dumps({"text": _text(ids)}) + "\n" for ids in texts))
    with file.open("rb") as stream:
        DatasetStore(field.artifacts()).create(DATASET, format="jsonl", stream=stream)


def harvested(field: Field, run_id: str) -> Tensor:
    """`[n_texts, d_model]` of a run's shards."""
    outputs = Outputs(field.artifacts(), run_id=run_id)
    manifest = json.loads(outputs.read("manifest.json"))
    parts = [safetensors.torch.load(outputs.read(shard["path"])) for shard in manifest["shards"]]
    return torch.cat([part[f"resid_post.{field.layer}"] for part in parts])


def looped(field: Field, run_id: str) -> Tensor:
    """`[n_texts, d_model]` of the loop's file."""
    return safetensors.torch.load_file(_loop_file(field, run_id))[f"resid_post.{field.layer}"]


def run_ids() -> Callable[[], str]:
    """Unique names of runs."""
    numbers = itertools.count()
    return lambda: f"run-{next(numbers)}"


def _serve(connection: Connection, field: Field) -> None:
    torch.set_num_threads(1)
    tasks = {"harvest": _harvest, "help": _help}
    prepared: dict[str, Callable[[Task], None]] = {}
    with suppress(EOFError):
        while True:
            task: Task = connection.recv()
            if task.what not in prepared:
                prepared[task.what] = _loop_of(field) if task.what == "loop" else _on_model(field, tasks[task.what])
            began = time.perf_counter()
            prepared[task.what](task)
            connection.send(time.perf_counter() - began)


def _on_model(field: Field, do: Callable[[BareRun], None]) -> Callable[[Task], None]:
    keep_freed_memory()  # as a work horse does
    model = HostedModel(MODEL, build_llama(field.size), build_tokenizer(field.size.n_vocab), revision="random")
    return lambda task: do(BareRun(field, model, run_id=task.run_id))


def _harvest(run: BareRun) -> None:
    harvest(run)


def _help(run: BareRun) -> None:
    # In production a helper starts after the plan is made; here it waits for the plan.
    while PlanFile(run.artifacts, run_id=run.run_id).load() is None:
        time.sleep(0.002)
    help_harvest(run)


def _loop_of(field: Field) -> Callable[[Task], None]:
    return partial(_loop, field, build_llama(field.size), build_tokenizer(field.size.n_vocab))


@torch.inference_mode()
def _loop(field: Field, module: Any, tokenizer: Any, task: Task) -> None:
    """Read all hidden states, keep the mean of one layer, and write one file with the texts."""
    examples = DatasetStore(field.artifacts()).examples(DATASET)
    texts = [example.text or "" for example in examples]
    means = []
    for start in range(0, len(texts), task.n_batch):
        batch = tokenizer(texts[start : start + task.n_batch])["input_ids"]
        out = module(input_ids=torch.tensor(batch), output_hidden_states=True, use_cache=False)
        means.append(out.hidden_states[field.layer + 1].mean(1))
    encoded = [text.encode() for text in texts]
    tensors = {
        f"resid_post.{field.layer}": torch.cat(means),
        "text_index": torch.arange(len(texts)),
        "text.bytes": torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8),
        "text.offsets": torch.tensor([0, *itertools.accumulate(map(len, encoded))]),
    }
    safetensors.torch.save_file(tensors, _loop_file(field, task.run_id))


def _loop_file(field: Field, run_id: str) -> Path:
    return Path(field.home) / f"{run_id}.safetensors"


def _text(ids: Sequence[int]) -> str:
    return " ".join(f"w{token}" for token in ids)
