"""A small tuning run: a random model of three layers with words as tokens, and a task of a few examples."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from service.engine.model.hosted_model import HostedModel
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from tests.oracle.models import build_model, save
from tests.workers.evaluation.fake_run import FakeRun
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, initialize
from workers.tuning.training_loop import Training

SPEC: Mapping[str, Any] = {
    "model": "small",
    "dataset": "words",
    "name": "wording",
    "method": {"kind": "soft", "n_virtual": 3},
    "priors": [{"kind": "vocabulary"}, {"kind": "isotropic", "std": 0.5}],
    "seeds": [0, 7],
    "optimizer": {"lr": 0.02, "steps": 13, "batch_size": 5},
    "eval": {"every": 4, "metrics": ["exact_match", "loss"], "splits": ["test"], "n": 6, "samples": 100},
    "checkpoint_every": 3,
    "snapshots": 4,
}
SPLITS = {"train": 30, "validation": 7, "test": 9}


@cache
def small_model() -> HostedModel:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        save(build_model("llama"), Path(folder))
        return HostedModel.load("small", folder, device="cpu", dtype="float32")


def records() -> list[dict[str, str]]:
    """The second word of an input is its answer; some answers have two words."""
    found = []
    for split, n in SPLITS.items():
        for i in range(n):
            words = [f"t{2 + (7 * i + 11 * k + len(split)) % 90}" for k in range(2 + i % 3)]
            target = f" {words[1]}" + (" t9" if i % 4 == 0 else "")
            found.append({"input": " ".join(words), "target": target, "split": split})
    return found


def put_dataset(store: DatasetStore, name: str, lines: list[dict[str, str]]) -> None:
    store.create(name, format="jsonl", stream=io.BytesIO("".join(json.dumps(x) + "\n" for x in lines).encode()))


def make_run(home: Path, **changes: Any) -> FakeRun:
    """The run of ``SPEC`` with some of its fields changed, in an empty store."""
    artifacts = ArtifactStore(str(home))
    datasets = DatasetStore(artifacts)
    put_dataset(datasets, "words", records())
    models = {"small": small_model()}
    return FakeRun({**SPEC, **changes}, models, artifacts, datasets, settings=Settings(max_batch=16))


def training_of(run: FakeRun) -> tuple[TuningContext, Initialization, Training]:
    """The training of a run, before its first step."""
    context = TuningContext.of(run)
    initialization = initialize(
        context.spec,
        members=context.members,
        model=context.model,
        sources=context.sources,
        dataset_sha256=context.dataset.sha256,
        max_bytes=context.forward_bytes,
    )
    return context, initialization, Training(context, initialization, on_point=lambda _: None, clock=lambda: 0.0)
