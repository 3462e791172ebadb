"""Harvests on runs kept in memory, with real stores and a small model; and their shards, read back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.maps.points import TextColumn
from service.store.prompts.store import PromptStore
from service.store.runs.outputs import Outputs
from tests.service.engine.contract import World
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.evaluation.test_run import file_of

LENGTHS = (5, 3, 8, 2, 13, 8, 1, 5, 6, 3, 11)


def words_of(i: int) -> tuple[int, ...]:
    """Token ids of a record's input."""
    return tuple((7 * i + 3 * k) % 90 + 2 for k in range(LENGTHS[i]))


def ids_of(i: int) -> tuple[int, ...]:
    """What is read of a record: input, then target."""
    return (*words_of(i), 2 + i)


def text_of(ids: Sequence[int]) -> str:
    return " ".join(f"t{token}" for token in ids)


def records(n: int = len(LENGTHS)) -> Iterator[dict[str, Any]]:
    """Every third one is a test record; only some have a task."""
    for i in range(n):
        task = {} if i % 4 == 3 else {"task": "ab"[i % 2]}
        split = "test" if i % 3 == 2 else "train"
        yield {"input": text_of(words_of(i)), "target": f" t{2 + i}", "split": split, **task}


@dataclass
class FakeCoordinator:
    """A coordinator of imaginary other workers. taken: parts that they hold. asked: number of helpers of each request."""

    taken: set[str] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    needed_after: int | None = None
    disbanded: bool = False
    had: list[str] = field(default_factory=list)

    @contextmanager
    def lease(self, part: str) -> Iterator[bool]:
        if part not in self.taken:
            self.had.append(part)
        yield part not in self.taken

    def unleased(self, parts: Sequence[str]) -> Sequence[str]:
        return [part for part in parts if part not in self.taken]

    def request_helpers(self, n: int) -> int:
        self.asked.append(n)
        return n

    def runs_are_waiting(self) -> bool:
        return self.needed_after is not None and len(self.had) >= self.needed_after

    def withdraw_requests(self) -> None:
        self.disbanded = True


class SharedFakeRun(FakeRun):
    """A FakeRun with a coordinator of imaginary other workers."""

    def again(self) -> SharedFakeRun:
        after = SharedFakeRun(
            self.spec,
            self.models,
            self.artifacts,
            self.datasets,
            self.name,
            self.run_id,
            self.attempt + 1,
            self.settings,
            outputs=self.outputs,
            points=self.points,
            logs=self.logs,
        )
        after.coordinator = FakeCoordinator()
        return after


class Field:
    """A store with a dataset ``words`` and some prompts."""

    def __init__(self, world: World, home: Path) -> None:
        self.world = world
        self.home = home
        self.artifacts = ArtifactStore(str(home))
        self.datasets = DatasetStore(self.artifacts)
        self.upload("words", list(records()))
        prompts = PromptStore(self.artifacts)
        for kind in ("soft", "soft-short", "deep-local", "prefix"):
            prompts.create(kind, prompt=file_of(world, kind))
        prompts.create("other", prompt=file_of(world, "soft"))

    def upload(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        self.datasets.create(name, format="jsonl", stream=io.BytesIO(lines.encode()))

    def run(self, *, run_id: str = "run-1", coordinator: FakeCoordinator | None = None, **spec: Any) -> SharedFakeRun:
        """A run; by default of tokens' states behind the first block."""
        known = {"model": "small", "dataset": "words", "layers": [0]}
        run = SharedFakeRun(
            {**known, **spec},
            {"small": self.world.hosted},
            self.artifacts,
            self.datasets,
            run_id=run_id,
            settings=Settings(),
        )
        run.coordinator = coordinator or FakeCoordinator()
        return run

    def outputs(self, run_id: str = "run-1") -> Outputs:
        return Outputs(self.artifacts, run_id=run_id)

    def shard_hashes(self, run_id: str = "run-1") -> dict[str, str]:
        return {output.path: output.sha256 for output in self.outputs(run_id).all()}

    def table(self, path: Path, run_id: str = "run-1") -> dict[str, Any]:
        """All columns of all shards in order; texts as lists."""
        parts: list[dict[str, Any]] = []
        for output in self.outputs(run_id).all():
            file = path / "shard.safetensors"
            file.write_bytes(self.outputs(run_id).read(output.path))
            parts.append(read_shard(file))
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def read_shard(file: Path) -> dict[str, Any]:
    """Columns of numbers and states as arrays (of bfloat16: torch's), of texts as lists."""
    with safetensors.safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    columns: dict[str, Any] = {name: t if t.dtype == torch.bfloat16 else t.numpy() for name, t in tensors.items()}
    for name in [name.removesuffix(".bytes") for name in tensors if name.endswith(".bytes")]:
        columns[name] = TextColumn.from_tensors(columns, name=name).items()
        del columns[f"{name}.bytes"], columns[f"{name}.offsets"]
    return columns


def header_of(file: Path) -> dict[str, Any]:
    with safetensors.safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert list(metadata) == ["promptatlas"]
    found: dict[str, Any] = json.loads(metadata["promptatlas"])
    return found


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)
