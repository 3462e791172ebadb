"""Small runs of kind ``distill``, and a dataset of samples with their most probable tokens to learn from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from promptatlas.types.distillation import DistillSpec
from promptatlas.types.generation import GenerateSpec
from safetensors.numpy import load

from service.settings import Settings
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.harvest.field import FakeCoordinator, SharedFakeRun
from tests.workers.tuning.small_run import SPEC, make_run
from workers.generate.run import generate

CONTEXT = {"context": "t9 t8 t7 "}
"""A teacher with some words in front of each input."""


def distill_run(home: Path, **changes: Any) -> FakeRun:
    """The run of ``SPEC`` as a ``distill`` run with some of its fields changed, in an empty store."""
    fields = {"teacher": {"dataset": "words"}, **changes}
    run = make_run(home, **fields)
    run.spec = complete(run.spec)
    return run


def complete(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with the defaults of its type."""
    return DistillSpec.model_validate_json(json.dumps(dict(spec))).model_dump(mode="json", by_alias=True)


def make_traces(run: FakeRun, *, name: str = "traces", **changes: Any) -> None:
    """Store a dataset of samples of the run's model, with their most probable tokens."""
    fields = {
        "model": "small",
        "dataset": "words",
        "name": name,
        "max_tokens": 6,
        "logprobs": 8,
        "metric": "exact_match",
        "seed": 3,
        **changes,
    }
    spec = GenerateSpec.model_validate(fields).model_dump(mode="json")
    # Samples of an earlier run of the same id would be found.
    run_id = f"run-{name}-{len(json.dumps(changes))}"
    sampling = SharedFakeRun(
        spec,
        run.models,
        run.artifacts,
        run.datasets,
        run_id=run_id,
        settings=Settings(max_batch=16),
    )
    sampling.coordinator = FakeCoordinator()
    generate(sampling)


def tensors_of(run: FakeRun) -> dict[str, dict[str, np.ndarray]]:
    """Tensors of the prompts that a run has made, by reference."""
    return {ref: load(run.prompts.content(run.prompts.resolve(ref))) for ref in run.made}


__all__ = ["CONTEXT", "SPEC", "complete", "distill_run", "make_traces", "tensors_of"]
