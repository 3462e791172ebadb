"""Losses on text of another domain, of the bare model, the teacher and the students, against plain transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.oracle.models import ARCHITECTURES, EOS, build_model
from tests.oracle.prompts import OraclePrompt
from tests.oracle.runs import oracle_logits
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.tuning.distillation.small_distillation import CONTEXT, complete, distill_run, tensors_of
from tests.workers.tuning.small_run import put_dataset
from workers.tuning.distillation.run import distill

TEXTS = ("t60 t61 t62", "t5 t60 t5 t61 t5", "t70", "t71 t72 t73 t74 t75 t76 t77")
PAIRS = (("t60 t61", " t62"), ("t70 t71 t72", " t5 t6"), ("t80", " t81"))
NO_PROMPT = OraclePrompt("soft", {"soft": torch.zeros(0, 56)})
FRONT = (9, 8, 7)
"""Tokens of ``CONTEXT``."""


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(int(word[1:]) for word in text.split())


def loss_of(pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], prompt: OraclePrompt = NO_PROMPT) -> float:
    """Nats per target token by plain transformers. pairs: what is read, and the target."""
    model, parts = build_model("llama"), ARCHITECTURES["llama"].parts
    nats, n_tokens = 0.0, 0
    for given, target in pairs:
        logits = oracle_logits(model, parts, (*given, *target), prompt)[len(given) - 1 : -1]
        nats += float(torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="sum"))
        n_tokens += len(target)
    return nats / n_tokens


def as_pairs(dataset: str, *, front: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What is read and what is predicted of each example, with tokens in front."""
    if dataset == "pairs":
        return [((*front, *ids_of(given)), (*ids_of(target), EOS)) for given, target in PAIRS]
    ids = [(*ids_of(text), EOS) for text in TEXTS]
    return [((*front, *each[:1]), each[1:]) for each in ids]


def measured(home: Path, dataset: str, **changes: Any) -> FakeRun:
    fields: dict[str, Any] = {"seeds": [0], "priors": [{"kind": "vocabulary"}], "teacher": CONTEXT, **changes}
    run = distill_run(home, **fields)
    put_dataset(run.datasets, "prose", [{"text": text, "split": "test"} for text in TEXTS])
    lines = [{"input": given, "target": target, "split": "test"} for given, target in PAIRS]
    put_dataset(run.datasets, "pairs", lines)
    other = {"dataset": dataset, "split": "test", "n": None}
    run.spec = complete({**run.spec, "eval": {**run.spec["eval"], "other": other}})
    run.metrics = dict(distill(run))
    return run


@pytest.mark.parametrize("dataset", ["prose", "pairs"])
def test_losses_are_those_of_plain_transformers(tmp_path: Path, dataset: str) -> None:
    run = measured(tmp_path, dataset)
    (tensors,) = tensors_of(run).values()
    student = OraclePrompt("soft", {"soft": torch.tensor(tensors["soft"])})
    expected = {
        "bare/other/loss": loss_of(as_pairs(dataset)),
        "teacher/other/loss": loss_of(as_pairs(dataset, front=FRONT)),
        "other/loss": loss_of(as_pairs(dataset), student),
    }
    assert {name: run.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 3) for value in expected.values()}) == 3
    assert run.metrics["other/loss_low"] < run.metrics["other/loss"] < run.metrics["other/loss_high"]
    assert "draw/other/loss" in run.metrics


def test_no_answers_are_generated_for_it(tmp_path: Path) -> None:
    run = measured(tmp_path, "pairs", eval={"metrics": ["exact_match"], "splits": ["test"], "n": 4, "samples": 100})
    rows = [json.loads(line) for line in run.outputs["evaluation.jsonl"].decode().splitlines()]
    others = [row for row in rows if row["split"] == "other"]
    assert len(others) == 4 * len(PAIRS)
    assert {row["stage"] for row in others} == {"bare", "before", "after", "teacher"}
    assert all(row["output"] is None and row["loss"] is not None for row in others)
    assert not any(name.startswith("other/") for name in run.metrics if "loss" not in name)
    # The items have no losses, which were not requested.
    assert "test/loss" not in run.metrics
    assert "test/exact_match" in run.metrics


def test_other_metrics_do_not_change(tmp_path: Path) -> None:
    plain = distill_run(tmp_path / "plain", seeds=[0], priors=[{"kind": "vocabulary"}], teacher=CONTEXT)
    expected = dict(distill(plain))
    run = measured(tmp_path / "other", "prose")
    assert {name: run.metrics[name] for name in expected} == expected
    for ref, tensors in tensors_of(plain).items():
        assert np.array_equal(tensors_of(run)[ref]["soft"], tensors["soft"])


@pytest.mark.parametrize("teacher", [{"dataset": "words"}, {"context": {"field": "input", "separator": " "}}])
def test_a_teacher_that_does_not_read_running_text_has_no_loss_there(tmp_path: Path, teacher: dict[str, Any]) -> None:
    run = measured(tmp_path, "prose", teacher=teacher)
    assert "teacher/other/loss" not in run.metrics
    assert run.metrics["bare/other/loss"] == pytest.approx(loss_of(as_pairs("prose")), abs=1e-4)
