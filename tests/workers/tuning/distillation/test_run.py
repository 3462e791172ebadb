"""Runs of kind ``distill`` from spec to stored prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.errors import Conflict, InvalidRequest
from tests.workers.evaluation.fake_run import FakeRun, Killed
from tests.workers.tuning.distillation.small_distillation import CONTEXT, SPEC, distill_run, make_traces, tensors_of
from tests.workers.tuning.small_run import make_run, small_model
from tests.workers.tuning.test_work_resumed import assert_same_results
from workers.inputs.tokenizers import tokenizer_sha256
from workers.tuning.distillation.context import DistillContext
from workers.tuning.distillation.criterion import views_of
from workers.tuning.distillation.run import distill
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.run import tune

KL = {"kind": "kl", "top_k": 5}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "context": {"teacher": CONTEXT, "loss": [KL, {"kind": "sequence", "weight": 0.5}]},
    "whole-vocabulary": {"teacher": CONTEXT, "loss": [{"kind": "jsd", "temperature": 2.0}]},
    "states": {
        "teacher": CONTEXT,
        "loss": [{"kind": "states", "layers": [1, 2]}],
        "method": {"kind": "prefix", "n_virtual": 3, "n_frozen": 1},
        "priors": [{"kind": "isotropic"}],
    },
    "removal": {
        "target": {
            "part": {"remove_per_epoch": 1, "unit": "tokens"},
            "answer": {"find": "pattern", "pattern": r"t\d+$"},
        },
    },
}


def finished(run: FakeRun) -> FakeRun:
    run.metrics = dict(distill(run))
    return run


def rows_of(run: FakeRun, stage: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.outputs["evaluation.jsonl"].decode().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def test_a_student_of_a_sequence_equals_a_tuned_prompt_bitwise(tmp_path: Path) -> None:
    """Teacher and students then read the same examples under the same loss."""
    tuned = make_run(tmp_path / "tuned")
    tune(tuned)
    learned = finished(distill_run(tmp_path / "learned"))
    expected, got = tensors_of(tuned), tensors_of(learned)
    assert list(got) == list(expected)
    for ref, tensors in expected.items():
        assert np.array_equal(got[ref]["soft"], tensors["soft"])
    assert learned.points == tuned.points


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_gives_the_same_results(name: str, tmp_path: Path) -> None:
    whole = finished(distill_run(tmp_path / "whole", **RUNS[name]))
    run = distill_run(tmp_path / "killed", **RUNS[name])
    run.kill_after = 7
    with pytest.raises(Killed):
        distill(run)
    again = run.again()
    again.metrics = dict(distill(again))
    assert again.steps[0][0] >= 6
    assert_same_results(again, whole)


def test_students_approach_their_teacher(tmp_path: Path) -> None:
    changes = {
        "optimizer": {**SPEC["optimizer"], "steps": 60},
        "loss": [KL],
        "priors": [{"kind": "vocabulary"}],
        "seeds": [0],
    }
    run = finished(distill_run(tmp_path, teacher=CONTEXT, **changes))
    assert run.metrics["test/kl"] < 0.8 * run.metrics["draw/test/kl"]
    assert run.metrics["test/kl"] < run.metrics["bare/test/kl"]


def test_the_evaluation_has_lengths_agreement_and_the_teacher(tmp_path: Path) -> None:
    run = finished(distill_run(tmp_path, teacher=CONTEXT, loss=[KL], seeds=[0], priors=[{"kind": "vocabulary"}]))
    for stage in ("bare", "before", "after"):
        for row in rows_of(run, stage):
            assert row["n_generated"] >= 1
            assert row["kl"] >= 0
            assert 0 <= row["agreement"] <= 1
            assert row["cut"] == (row["finish_reason"] == "length")
            n_virtual = 0 if stage == "bare" else 3
            assert row["n_forward"] == n_virtual + len(row["input"].split()) + row["n_generated"]
    own = [row["n_generated"] for row in rows_of(run, "after")]
    assert run.metrics["test/n_generated"] == pytest.approx(np.mean(own))
    assert run.metrics["test/n_generated_p95"] == pytest.approx(np.percentile(own, 95))
    of_teacher = rows_of(run, "teacher")
    assert len(of_teacher) == len(own)
    assert all(row["n_forward"] == 3 + len(row["input"].split()) + row["n_generated"] for row in of_teacher)
    assert "kl" not in of_teacher[0]
    assert "teacher/test/exact_match" in run.metrics


def test_a_file_of_top_tokens_has_what_its_model_gives(tmp_path: Path) -> None:
    run = distill_run(tmp_path, teacher={"dataset": "traces"}, loss=[{"kind": "kl", "top_k": 8}])
    make_traces(run)
    context = DistillContext.of(run)
    model, (view,) = small_model(), views_of(context.spec.loss)
    running = ModelTeacher(model, prompt=None, views=[view], layers=[], max_bytes=0)
    stored = context.teacher
    assert stored is not None
    lessons = context.lessons("train")
    assert len(lessons) > 20
    for lesson in lessons:
        got, expected = stored.teaching(lesson).views[view], running.teaching(lesson).views[view]
        assert got.ids is not None
        assert expected.ids is not None
        torch.testing.assert_close(got.log_probs, expected.log_probs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got.log_rest, expected.log_rest, rtol=1e-3, atol=1e-4)
        assert torch.equal(got.ids.long(), expected.ids)


def test_students_of_a_file_are_trained_on_its_tokens(tmp_path: Path) -> None:
    run = distill_run(tmp_path, teacher={"dataset": "traces"}, loss=[{"kind": "kl", "top_k": 8}])
    make_traces(run, stop=["t5"])
    finished(run)
    losses = [values["loss"] for values in run.points.values() if "loss" in values]
    assert len(losses) > 10
    assert all(np.isfinite(losses))
    # Without a teacher that runs, no agreement with it is measured.
    assert "test/kl" not in run.metrics
    assert "test/n_generated" in run.metrics


def test_another_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = distill_run(tmp_path, teacher={"dataset": "traces"}, loss=[KL])
    make_traces(run)
    known = tokenizer_sha256(small_model().tokenizer)
    monkeypatch.setattr("workers.tuning.distillation.context.tokenizer_sha256", lambda _: known[::-1])
    with pytest.raises(InvalidRequest, match="are of another one"):
        distill(run)
    assert run.made == []


def test_changed_data_are_a_conflict(tmp_path: Path) -> None:
    run = distill_run(tmp_path, teacher={"dataset": "traces"}, loss=[KL])
    make_traces(run)
    run.kill_after = 7
    with pytest.raises(Killed):
        distill(run)
    run.datasets.delete("traces")
    make_traces(run, temperature=0.5)
    with pytest.raises(Conflict, match="other content"):
        distill(run.again())


def test_a_target_without_its_answer_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    target = {"part": "answer", "answer": {"find": "pattern", "pattern": "t9$"}}
    run = finished(distill_run(tmp_path, target=target))
    assert any("have no answer in their last step" in text for text in run.warnings())
    nothing = {"part": "answer", "answer": {"find": "pattern", "pattern": "no-such-word"}}
    with pytest.raises(InvalidRequest, match="None of the 6 validation examples can be learned"):
        distill(distill_run(tmp_path / "nothing", target=nothing))
