"""Losses and gradients equal plain transformers and plain torch, for one member at a time, on three architectures."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from promptatlas.types.distillation import DivergenceLoss, LossTerm, SequenceLoss, StatesLoss
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the conventional name)

from tests.oracle.models import N_VOCAB, build_model
from tests.workers.tuning.small_training import FORMS, hosted
from workers.tuning.distillation.criterion import DistillationLoss, layers_of, views_of
from workers.tuning.distillation.lessons import LearnedExample, Lesson, part_of
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.packing.batches import batch_of
from workers.tuning.training.forward import TuningForward

ARCHITECTURES = ("llama", "gpt2", "qwen3")
SOFT = FORMS["soft"]
CONTEXT = (5, 9, 4, 31)

Rows = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Losses of the rows of one example, given logits of student and teacher, targets, and ids of the top tokens."""


def lessons() -> list[Lesson]:
    draw = random.Random(8)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(2, N_VOCAB) for _ in range(n))

    found = []
    for i, (n_input, n_target) in enumerate([(4, 5), (7, 3), (4, 5), (2, 6)]):
        own = ids(n_input)
        segments = tuple(3 * k // n_target for k in range(n_target))
        found.append(
            Lesson(
                split="train",
                index=i,
                input_ids=own,
                teacher_ids=CONTEXT + own,
                target_ids=ids(n_target),
                segments=segments,
                n_steps=2,
            )
        )
    return found


@cache
def plain(architecture: str) -> Any:
    return build_model(architecture)


def plain_forward(architecture: str, ids: Sequence[int], *, soft: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the output of each block, of the text in plain transformers."""
    model = plain(architecture)
    embedded = model.get_input_embeddings()(torch.tensor(ids))
    n = 0 if soft is None else len(soft)
    vectors = embedded if soft is None else torch.cat([soft, embedded])
    blocks = model.model.layers if hasattr(model, "model") else model.transformer.h
    states: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        states.append((output[0] if isinstance(output, tuple) else output)[0, n:])

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        logits = model(inputs_embeds=vectors[None]).logits[0, n:]
    finally:
        for handle in handles:
            handle.remove()
    return logits, states


def example_loss(architecture: str, example: LearnedExample, soft: Tensor, loss: Callable[..., Tensor]) -> Tensor:
    """Sum of a loss over one example's target tokens."""
    lesson, kept = example.lesson, torch.tensor(example.kept)
    logits, states = plain_forward(architecture, example.input_ids + example.target_ids[:-1], soft=soft)
    first = len(example.input_ids) - 1
    with torch.no_grad():
        taught, taught_states = plain_forward(architecture, lesson.teacher_ids + lesson.target_ids[:-1])
    at = len(lesson.teacher_ids) - 1 + kept
    return loss(
        z=logits[first:],
        t=taught[at],
        targets=torch.tensor(example.target_ids),
        own=[state[first:] for state in states],
        of_teacher=[state[at] for state in taught_states],
        example=example,
    ).sum()


def by_bucket(p: Tensor, q: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(torch.cat([x.gather(1, ids), 1 - x.gather(1, ids).sum(1, keepdim=True)], 1) for x in (p, q))  # type: ignore[return-value]


def kl_top_4(z: Tensor, t: Tensor, **_: Any) -> Tensor:
    p, q = by_bucket(t.double().softmax(-1), z.double().softmax(-1), t.topk(4, -1).indices)
    return (p * (p / q).log()).sum(-1)


def reverse_kl_at_2(z: Tensor, t: Tensor, **_: Any) -> Tensor:
    p, q = (t / 2).double().softmax(-1), (z / 2).double().softmax(-1)
    return (q * (q / p).log()).sum(-1)


def jsd_top_3(z: Tensor, t: Tensor, **_: Any) -> Tensor:
    p, q = by_bucket(t.double().softmax(-1), z.double().softmax(-1), t.topk(3, -1).indices)
    m = (p + q) / 2
    return ((p * (p / m).log()).sum(-1) + (q * (q / m).log()).sum(-1)) / 2


def published(z: Tensor, t: Tensor, **_: Any) -> Tensor:
    top = t.log_softmax(-1).topk(5, -1)
    return -(top.values.exp() * z.log_softmax(-1).gather(1, top.indices)).sum(-1)


def sequence_and_kl(z: Tensor, t: Tensor, targets: Tensor, **_: Any) -> Tensor:
    kl = F.kl_div(z.log_softmax(-1), t.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    return 0.3 * F.cross_entropy(z, targets, reduction="none") + 2 * kl


def states_everywhere(own: list[Tensor], of_teacher: list[Tensor], **_: Any) -> Tensor:
    each = [F.smooth_l1_loss(own[i], of_teacher[i], reduction="none", beta=0.5).mean(-1) for i in (0, 2)]
    return (each[0] + each[1]) / 2


def states_at_the_answer(own: list[Tensor], of_teacher: list[Tensor], example: LearnedExample, **_: Any) -> Tensor:
    found = F.smooth_l1_loss(own[1], of_teacher[1], reduction="none").mean(-1)
    is_start = torch.zeros(len(found))
    segments = example.lesson.segments
    assert segments is not None
    is_start[[segments[k] for k in example.kept].index(2)] = 1
    return found * is_start


CASES: Mapping[str, tuple[list[LossTerm], Callable[..., Tensor]]] = {
    "kl-top-4": ([DivergenceLoss(kind="kl", top_k=4)], kl_top_4),
    "reverse-kl-at-2": ([DivergenceLoss(kind="reverse_kl", temperature=2.0)], reverse_kl_at_2),
    "jsd-top-3": ([DivergenceLoss(kind="jsd", top_k=3)], jsd_top_3),
    "published": ([DivergenceLoss(kind="kl", top_k=5, rest=False)], published),
    "sequence-and-kl": (
        [SequenceLoss(kind="sequence", weight=0.3), DivergenceLoss(kind="kl", weight=2.0)],
        sequence_and_kl,
    ),
    "states": ([StatesLoss(kind="states", layers=[0, 2], beta=0.5)], states_everywhere),
    "states-at-the-answer": ([StatesLoss(kind="states", layers=[1], position="answer")], states_at_the_answer),
}


def examples_of(part: str) -> list[LearnedExample]:
    if part == "chain":
        return [part_of(lesson, kept=range(len(lesson.target_ids))) for lesson in lessons()]
    return [part_of(item, kept=item.without(1, unit="steps", removed_from="start")) for item in lessons()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", ["chain", "later-steps"])
def test_losses_and_gradients_equal_plain_torch(architecture: str, case: str, part: str) -> None:
    terms, loss = CASES[case]
    model = hosted(architecture)
    teacher = ModelTeacher(model, prompt=None, views=views_of(terms), layers=layers_of(terms), max_bytes=1 << 20)
    drawn = [SOFT.draw(model, seed=i) for i in range(2)]
    criterion = DistillationLoss(terms, teacher=teacher)
    forward = TuningForward(model, SOFT.prompt(drawn[0]), frozen=None, criterion=criterion)
    examples = examples_of(part)
    leaves = [tensors["soft"].clone().requires_grad_() for tensors in drawn]
    got = forward.losses([{"soft": leaf} for leaf in leaves], batch_of(examples))
    own = [tensors["soft"].clone().requires_grad_() for tensors in drawn]
    expected = torch.stack([sum(example_loss(architecture, e, soft, loss) for e in examples) for soft in own])  # type: ignore[misc]
    torch.testing.assert_close(got.double(), expected.double(), rtol=1e-5, atol=1e-5)
    for found, right in zip(
        torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(expected.sum(), own), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-5 * max(1.0, float(right.abs().max())))


def test_gradient_checkpointing_changes_no_gradient() -> None:
    terms = [*CASES["states"][0], *CASES["kl-top-4"][0]]
    model = hosted("llama")
    found = []
    for checkpointing in (False, True):
        teacher = ModelTeacher(model, prompt=None, views=views_of(terms), layers=layers_of(terms), max_bytes=0)
        leaf = SOFT.draw(model, seed=4)["soft"].requires_grad_()
        forward = TuningForward(
            model,
            SOFT.prompt({"soft": leaf.detach()}),
            frozen=None,
            gradient_checkpointing=checkpointing,
            criterion=DistillationLoss(terms, teacher=teacher),
        )
        loss = forward.losses([{"soft": leaf}], batch_of(examples_of("chain")))
        found.append(torch.autograd.grad(loss.sum(), leaf)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_a_teacher_under_a_prompt_is_the_model_that_serves_it() -> None:
    """Its distributions are those of plain transformers with the prompt's vectors in front."""
    model, soft = hosted("llama"), SOFT.draw(hosted("llama"), seed=9)
    terms = CASES["sequence-and-kl"][0]
    teacher = ModelTeacher(model, prompt=SOFT.prompt(soft), views=views_of(terms), layers=[1], max_bytes=1 << 20)
    lesson = lessons()[1]
    taught = teacher.teaching(lesson)
    with torch.no_grad():
        logits, states = plain_forward("llama", lesson.teacher_ids + lesson.target_ids[:-1], soft=soft["soft"])
    first = len(lesson.teacher_ids) - 1
    torch.testing.assert_close(taught.views[views_of(terms)[0]].log_probs, logits[first:].log_softmax(-1))
    torch.testing.assert_close(taught.states[1], states[1][first:])
    assert teacher.teaching(lesson) is taught


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gemma3", "mistral"])
@pytest.mark.parametrize(
    "front",
    [(9, 8, 7, 6, 5), (9, 8, 7, 40, 41), (9, 8, 7, 6, 5, 4, 3, 2, 11), (50, 51)],
    ids=["whole", "joined-at-the-end", "longer-than-the-text", "of-another-text"],
)
def test_a_front_that_is_read_once_changes_nothing(architecture: str, front: tuple[int, ...]) -> None:
    """Distributions and states are those of plain transformers on the whole text."""
    terms, model = CASES["sequence-and-kl"][0], hosted(architecture)
    teacher = ModelTeacher(model, prompt=None, views=views_of(terms), layers=[1], max_bytes=0, front=front)
    for inputs, target in (((9, 8, 7, 6, 5, 4, 3), (12, 13, 14)), ((9, 8, 7, 6, 5), (30,))):
        lesson = Lesson(split="train", index=0, input_ids=inputs[-2:], teacher_ids=inputs, target_ids=target)
        taught = teacher.teaching(lesson)
        with torch.no_grad():
            logits, states = plain_forward(architecture, inputs + target[:-1])
        first = len(inputs) - 1
        log_probs = taught.views[views_of(terms)[0]].log_probs
        torch.testing.assert_close(log_probs, logits[first:].log_softmax(-1), rtol=0, atol=1e-4)
        torch.testing.assert_close(taught.states[1], states[1][first:], rtol=0, atol=1e-4)
