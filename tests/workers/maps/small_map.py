"""A map run that takes a moment: a random model of three layers, words as tokens, and prompts with their ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import decode, encode
from service.store.datasets.store import DatasetStore
from service.store.maps.points import Points
from service.store.maps.store import points_path
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import PromptManifest, Provenance
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.tuning.small_run import put_dataset, records, small_model

D_MODEL = 56


def shape() -> BaseShape:
    card = small_model().card
    return BaseShape(
        name=card.name,
        revision=card.revision,
        n_layers=card.n_layers,
        d_model=card.d_model,
        n_kv_heads=card.n_kv_heads,
        d_head=card.d_head,
        n_positions=card.n_positions,
    )


def make_run(home: Path, **spec: Any) -> FakeRun:
    """A run with the dataset ``words``, whose records have tasks."""
    artifacts = ArtifactStore(str(home))
    datasets = DatasetStore(artifacts)
    lines = [{**record, "task": f"task {i % 2}"} for i, record in enumerate(records())]
    put_dataset(datasets, "words", lines)
    models = {"small": small_model()}
    return FakeRun({"model": "small", **spec}, models, artifacts, datasets, settings=Settings(max_batch=16))


def put_prompt(
    run: FakeRun, name: str, *, kind: Any = "soft", layers: tuple[int, ...] = (1,), n: int = 3, where: Any = None
) -> PromptManifest:
    """A prompt, tuned by a run that has kept its draw and two snapshots on the way."""
    rng = np.random.default_rng(len(name))
    names = ["soft"] if kind == "soft" else [f"deep.{layer}" for layer in layers]
    tensors: dict[str, Any] = {key: rng.normal(size=(n, D_MODEL)).astype(np.float32) for key in names}
    if kind == "steering":
        tensors = {f"steering.{layer}": rng.normal(size=D_MODEL).astype(np.float32) for layer in layers}
    if kind == "prefix":
        tensors = {"prefix": np.zeros((3, 2, 2, n, 14), np.float32)}
    runs = RunStore(run.artifacts)
    made_by = runs.create("tune", spec={}).id
    file = make_prompt(kind, tensors=tensors, base=shape(), where=where)
    found, _ = PromptStore(run.artifacts).create(name, prompt=file, provenance=Provenance(run_id=made_by))
    writer = runs.claim(made_by, worker="w")
    draw = {key: values + 1 for key, values in tensors.items()}
    writer.put_output(f"draws/{found.ref}.safetensors", encode(draw))
    stacked = {key: np.stack([values + 0.5, values + 0.25]) for key, values in tensors.items()}
    writer.put_output(f"snapshots/{found.ref}.safetensors", encode({**stacked, "steps": np.array([4, 8], np.int64)}))
    return found


def points_of(run: FakeRun, layer: int) -> Points:
    return Points.from_tensors(decode(run.outputs[points_path(layer)]).tensors, label="map")


def rows_of(run: FakeRun, layer: int) -> list[dict[str, Any]]:
    """The points of a layer, one dictionary each."""
    lists = points_of(run, layer).lists()
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def facts_of(run: FakeRun) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.outputs["map.json"])
    return found
