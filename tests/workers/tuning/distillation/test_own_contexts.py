"""A different context for each example: the teacher is the base with that chunk in its context, by plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.errors import InvalidRequest
from tests.oracle.models import build_model
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.tuning.distillation.small_distillation import distill_run, make_traces
from tests.workers.tuning.small_run import put_dataset
from workers.tuning.distillation.context import DistillContext
from workers.tuning.distillation.criterion import views_of
from workers.tuning.distillation.run import distill

CHUNK = {"context": {"field": "chunk", "separator": " "}}
KL: dict[str, Any] = {"kind": "kl"}


def chunk_of(i: int) -> str:
    return " ".join(f"t{2 + (13 * i + 5 * k) % 90}" for k in range(2 + i % 4))


def records() -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for split, n in {"train": 20, "validation": 4, "test": 6}.items():
        for i in range(n):
            given = f"t{2 + (7 * i + len(split)) % 90} t{3 + i}"
            found.append(
                {"input": given, "target": f" t{40 + i % 3} t9", "split": split, "chunk": chunk_of(len(found))}
            )
    return found


def run_on(home: Path, **changes: Any) -> FakeRun:
    fields = {"dataset": "chunks", "seeds": [0], "priors": [{"kind": "vocabulary"}], "teacher": CHUNK, "loss": [KL]}
    run = distill_run(home, **{**fields, **changes})
    put_dataset(run.datasets, "chunks", records())
    return run


def log_probs(text: str, target: str) -> torch.Tensor:
    """Of the target's tokens and the end of text, by plain transformers. `[n, vocab]`."""
    ids = [[int(word[1:]) for word in part.split()] for part in (text, target)]
    with torch.no_grad():
        logits = build_model("llama")(input_ids=torch.tensor([ids[0] + ids[1]])).logits[0]
    found: torch.Tensor = logits[len(ids[0]) - 1 :].log_softmax(-1)
    return found


def test_the_teacher_reads_the_chunk_of_each_record(tmp_path: Path) -> None:
    context = DistillContext.of(run_on(tmp_path))
    (view,), teacher = views_of(context.spec.loss), context.teacher
    assert teacher is not None
    lessons = context.lessons("train")
    assert len(lessons) == 20
    assert len({lesson.teacher_ids[:-2] for lesson in lessons}) == 20
    for lesson, record in zip(lessons, records(), strict=False):
        expected = log_probs(f"{record['chunk']} {record['input']}", record["target"])
        found = teacher.teaching(lesson).views[view].log_probs
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_students_learn_it(tmp_path: Path) -> None:
    """``kl`` of the model without a prompt is the mean KL(with the chunk ‖ without it), by plain transformers."""
    run = run_on(tmp_path, optimizer={"lr": 0.03, "steps": 60, "batch_size": 10})
    metrics = distill(run)
    divergences = []
    for record in records()[-6:]:
        p = log_probs(f"{record['chunk']} {record['input']}", record["target"]).double()
        q = log_probs(record["input"], record["target"]).double()
        divergences.append(float((p.exp() * (p - q)).sum(-1).mean()))
    assert metrics["bare/test/kl"] == pytest.approx(np.mean(divergences), abs=1e-4)
    assert metrics["test/kl"] < metrics["draw/test/kl"]
    assert "teacher/test/exact_match" in metrics


def test_samples_keep_the_chunk_that_a_teacher_reads_again(tmp_path: Path) -> None:
    """Self-study: samples under each chunk, then students that do not read it."""
    run = run_on(tmp_path)
    make_traces(run, dataset="chunks", context=CHUNK["context"], logprobs=None)
    made = list(run.datasets.examples("traces"))
    chunks = {record["input"]: record["chunk"] for record in records()}
    assert len(made) > 10
    assert all(example.record["chunk"] == chunks[example.record["input"]] for example in made)
    run.spec = {**run.spec, "teacher": {"dataset": "traces", **CHUNK}}
    context = DistillContext.of(run)
    for lesson in context.lessons("train")[:5]:
        example = next(each for each in made if each.index == lesson.index)
        text = f"{example.record['chunk']} {example.input}"
        assert lesson.teacher_ids == tuple(int(word[1:]) for word in text.split())
    assert distill(run)["test/kl"] > 0


def test_items_without_a_chunk_have_no_teacher(tmp_path: Path) -> None:
    """The texts have chunks; the items on which members are evaluated do not."""
    run = run_on(tmp_path, dataset="words", teacher={"dataset": "chunks", **CHUNK})
    metrics = distill(run)
    assert "test/kl" not in metrics
    assert not any(name.startswith("teacher/") for name in metrics)
    assert "test/exact_match" in metrics


def test_texts_without_a_chunk_end_the_run(tmp_path: Path) -> None:
    run = run_on(tmp_path, teacher={"context": {"field": "nothing"}})
    with pytest.raises(InvalidRequest, match="field 'nothing' in every record"):
        distill(run)
