"""A report on a random model of three layers: quick, and true to everything but meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from promptatlas.types import Report

from service.engine.prompts.prompt import Prompt
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import Provenance
from service.store.prompts.native_format import make_prompt
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.tuning.small_run import make_run as make_tuning
from tests.workers.tuning.small_run import put_dataset, records, small_model
from workers.reports.run import report
from workers.tuning.run import tune

SPEC: dict[str, Any] = {
    "model": "small",
    "datasets": ["words", "other"],
    "n": 20,
    "n_trajectories": 3,
    "max_tokens": 6,
    "samples": 99,
    "layers": [0, 2],
}


def make_run(home: Path, **changes: Any) -> FakeRun:
    """A report of nothing yet, with two datasets; the second has the words of the first the other way round."""
    run = make_tuning(home)
    others = [{**record, "input": " ".join(reversed(record["input"].split()))} for record in records()]
    put_dataset(run.datasets, "other", others)
    run.spec = {**SPEC, **changes}
    return run


def tuned(run: FakeRun, **changes: Any) -> list[str]:
    """Prompts of a real tuning run in the report's store. Their run's record is not there, nor what it left."""
    tuning = FakeRun(
        {
            "model": "small",
            "dataset": "words",
            "name": "wording",
            "method": {"kind": "soft", "n_virtual": 3},
            "priors": [{"kind": "vocabulary"}, {"kind": "isotropic", "std": 0.5}],
            "optimizer": {"lr": 0.02, "steps": 2, "batch_size": 5},
            "eval": {"every": 1, "n": 3, "samples": 100},
            **changes,
        },
        run.models,
        run.artifacts,
        run.datasets,
        settings=run.settings,
    )
    tune(tuning)
    return tuning.made


def put_prompt(run: FakeRun, name: str, prompt: Prompt, **provenance: Any) -> str:
    """A prompt that somebody uploaded."""
    card = small_model().card
    shape = BaseShape(
        name="small",
        revision=card.revision,
        n_layers=card.n_layers,
        d_model=card.d_model,
        n_kv_heads=card.n_kv_heads,
        d_head=card.d_head,
        n_positions=card.n_positions,
    )
    tensors = {key: np.asarray(tensor) for key, tensor in prompt.tensors.items()}
    file = make_prompt(prompt.kind, tensors=tensors, base=shape, where=prompt.where)
    return run.prompts.create(name, prompt=file, provenance=Provenance(**provenance))[0].ref


def made(run: FakeRun) -> Report:
    """The report that the run makes, as the wire has it."""
    report(run)
    json.loads(run.outputs["report.json"], parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    return Report.model_validate_json(run.outputs["report.json"])
