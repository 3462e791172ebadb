"""Tuning on the demo task: the demo model answers no question without its scaffold, and learns to from a few examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import demo
from service.engine.model.hosted_model import HostedModel
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from tests.workers.evaluation.fake_run import FakeRun
from workers.tuning.run import tune

DEMO = Path(demo.__file__).parent


@pytest.mark.skipif(not (DEMO / "model").is_dir(), reason="the demo model is missing")
def test_a_soft_prompt_lifts_exact_match_on_held_out_questions(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    artifacts = ArtifactStore(str(tmp_path))
    model = HostedModel.load("demo", str(DEMO / "model"), device="cpu", dtype="float32")
    spec = {
        "model": "demo",
        "dataset": "demo-qa",
        "priors": [{"kind": "vocabulary"}],
        "optimizer": {"lr": 1e-2, "steps": 40, "batch_size": 16},
        "eval": {"every": 40, "metrics": ["exact_match"], "n": 60},
    }
    run = FakeRun(spec, {"demo": model}, artifacts, DatasetStore(artifacts, builtin=DEMO / "data"))
    metrics = tune(run)
    assert metrics["bare/test/exact_match"] <= 0.5
    assert metrics["draw/test/exact_match"] <= 0.5
    assert metrics["test/exact_match_low"] >= 0.85
