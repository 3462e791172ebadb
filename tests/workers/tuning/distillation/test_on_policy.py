"""On-policy steps: samples of each member, scored by the teacher, with the gradients of plain torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from promptatlas.types.distillation import DivergenceLoss, LossTerm, SequenceLoss
from safetensors.numpy import load
from torch.nn import functional as F  # noqa: N812 (the conventional name)

from service.engine.requests import Limits
from tests.oracle.models import EOS
from tests.workers.evaluation.fake_run import Killed
from tests.workers.tuning.distillation.small_distillation import CONTEXT, distill_run, tensors_of
from tests.workers.tuning.distillation.test_criterion import SOFT, lessons, plain_forward
from tests.workers.tuning.small_training import hosted
from tests.workers.tuning.test_work_resumed import assert_same_results
from workers.tuning.distillation.criterion import DistillationLoss, views_of
from workers.tuning.distillation.lessons import LearnedExample, whole
from workers.tuning.distillation.on_policy import StudentSampler
from workers.tuning.distillation.run import distill
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.training.objective import Objective

SHARED = {"seeds": [0], "priors": [{"kind": "vocabulary"}, {"kind": "isotropic", "std": 0.5}]}


def sampler(*, share: float = 0.5, max_tokens: int = 5) -> StudentSampler:
    return StudentSampler(
        hosted("llama"),
        lessons=lessons(),
        share=share,
        max_tokens=max_tokens,
        n_teacher_positions=128,
        seed=3,
        prompt_of=SOFT.prompt,
        limits=Limits(max_rows=8),
        check=lambda: None,
    )


def test_samples_depend_on_the_member_the_step_and_the_item_alone() -> None:
    drawn = [SOFT.draw(hosted("llama"), seed=i) for i in range(2)]
    found = sampler().examples(drawn, [0, 2], step=4)
    assert [len(own) for own in found] == [2, 2]
    assert found[0] != found[1]
    assert sampler().examples(drawn[1:], [2, 0], step=4)[0] == found[1][::-1]
    assert sampler().examples(drawn, [0, 2], step=5) != found
    for own in found:
        for example, lesson in zip(own, (lessons()[0], lessons()[2]), strict=True):
            assert isinstance(example, LearnedExample)
            assert example.input_ids == lesson.input_ids
            assert example.lesson.teacher_ids == lesson.teacher_ids
            assert example.lesson.is_sampled
            assert 1 <= len(example.target_ids) <= 5
            assert EOS not in example.target_ids[:-1]


def test_gradients_of_shared_and_sampled_examples_equal_plain_torch() -> None:
    model = hosted("llama")
    terms: list[LossTerm] = [DivergenceLoss(kind="reverse_kl"), SequenceLoss(kind="sequence")]
    drawn = [SOFT.draw(model, seed=i) for i in range(2)]
    sampled = sampler().examples(drawn, [0, 3], step=1)
    shared = [whole(lesson) for lesson in lessons()[1:3]]
    teacher = ModelTeacher(model, prompt=None, views=views_of(terms), layers=[], max_bytes=1 << 20)
    objective = Objective(
        model,
        SOFT.prompt(drawn[0]),
        validation=(),
        gradient_checkpointing=False,
        max_bytes=1 << 30,
        criterion=DistillationLoss(terms, teacher=teacher),
    )
    losses, gradients = objective.gradients(drawn, [shared], sampled=sampled)
    for i, tensors in enumerate(drawn):
        soft = tensors["soft"].clone().requires_grad_()
        total, n = torch.zeros(()), 0
        for example in (*shared, *sampled[i]):
            assert isinstance(example, LearnedExample)
            logits, _ = plain_forward("llama", example.input_ids + example.target_ids[:-1], soft=soft)
            with torch.no_grad():
                taught, _ = plain_forward("llama", example.lesson.teacher_ids + example.target_ids[:-1])
            q = logits[len(example.input_ids) - 1 :].log_softmax(-1)
            p = taught[len(example.lesson.teacher_ids) - 1 :].log_softmax(-1)
            total = total + F.kl_div(p, q, log_target=True, reduction="sum")
            if not example.lesson.is_sampled:
                total = total + F.nll_loss(q, torch.tensor(example.target_ids), reduction="sum")
            n += len(example.target_ids)
        (expected,) = torch.autograd.grad(total / n, soft)
        torch.testing.assert_close(losses[i], (total / n).detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            gradients[i]["soft"], expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max()))
        )


def test_a_killed_run_samples_the_same_again(tmp_path: Path) -> None:
    changes = {**SHARED, "teacher": CONTEXT, "loss": [{"kind": "jsd", "top_k": 6}], "on_policy": 0.4}
    whole_run = distill_run(tmp_path / "whole", **changes)
    whole_run.metrics = dict(distill(whole_run))
    run = distill_run(tmp_path / "killed", **changes)
    run.kill_after = 7
    with pytest.raises(Killed):
        distill(run)
    again = run.again()
    again.metrics = dict(distill(again))
    assert_same_results(again, whole_run)


def test_frozen_positions_keep_their_draw(tmp_path: Path) -> None:
    for kind, axis in (("soft", 0), ("prefix", 3)):
        method = {"kind": kind, "n_virtual": 4, "n_frozen": 2}
        run = distill_run(
            tmp_path / kind,
            method=method,
            seeds=[0],
            priors=[{"kind": "isotropic"}],
            optimizer={"steps": 5, "weight_decay": 0.5},
        )
        distill(run)
        (ref,) = run.made
        (drawn,) = [data for path, data in run.outputs.items() if path.startswith("draws/")]
        before = torch.from_numpy(load(drawn)[kind])
        after = torch.from_numpy(tensors_of(run)[ref][kind])
        assert torch.equal(after.narrow(axis, 0, 2), before.narrow(axis, 0, 2))
        assert bool((after.narrow(axis, 2, 2) != before.narrow(axis, 2, 2)).all())
