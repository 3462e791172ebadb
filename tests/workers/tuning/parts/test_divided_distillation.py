"""Students that several workers train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.tuning.distillation.small_distillation import CONTEXT, distill_run
from tests.workers.tuning.parts.helped_run import divide_small_runs, steps_of, with_helpers
from tests.workers.tuning.test_work_resumed import assert_same_results
from workers.tuning.distillation.helper import help_distill
from workers.tuning.distillation.run import distill
from workers.tuning.parts.plan import PlanFile

RUNS: Mapping[str, Mapping[str, Any]] = {
    "distributions": {"teacher": CONTEXT, "loss": [{"kind": "kl", "top_k": 5}, {"kind": "sequence", "weight": 0.5}]},
    "removal": {
        "target": {
            "part": {"remove_per_epoch": 1, "unit": "tokens"},
            "answer": {"find": "pattern", "pattern": r"t\d+$"},
        },
    },
}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    divide_small_runs(monkeypatch)


def finished(run: FakeRun) -> FakeRun:
    run.metrics = dict(distill(run))
    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_helper_trains_students_to_the_same_bits(name: str, tmp_path: Path) -> None:
    alone = finished(distill_run(tmp_path / "alone", **RUNS[name]))
    run = distill_run(tmp_path / "helped", **RUNS[name])
    helpers = with_helpers(run, help_distill, kill_at=50)
    assert_same_results(finished(run), alone)
    assert steps_of(helpers.came[0]) > 0


def test_students_that_sample_their_targets_stay_in_one_part(tmp_path: Path) -> None:
    run = finished(distill_run(tmp_path, teacher=CONTEXT, loss=[{"kind": "kl", "top_k": 5}], on_policy=0.5, seeds=[0]))
    assert PlanFile(run.artifacts, run_id=run.run_id).load() is None
