"""The published schedule of removals: how much is removed when, its smoothing, and the resets of the optimizer."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from promptatlas.types.distillation import Removal

from tests.workers.tuning.small_training import FORMS, hosted, members, settings
from workers.inputs.examples import EncodedExample
from workers.tuning.distillation.curriculum import RemovalCurriculum
from workers.tuning.distillation.lessons import LearnedExample, Lesson, whole
from workers.tuning.training.trainer import Trainer

N, BATCH = 12, 4


def lessons() -> list[Lesson]:
    """Chains of five steps of one token each, and an answer of two tokens."""
    return [
        Lesson(
            split="train",
            index=i,
            input_ids=(2 + i, 7),
            teacher_ids=(2 + i, 7),
            target_ids=tuple(20 + i + k for k in range(7)),
            segments=(0, 1, 2, 3, 4, 5, 5),
            n_steps=5,
        )
        for i in range(N)
    ]


def curriculum(**fields: object) -> RemovalCurriculum:
    removal = Removal.model_validate({"remove_per_epoch": 2, "smoothing": None, **fields})
    return RemovalCurriculum(lessons(), removal=removal, batch_size=BATCH, seed=5)


def kept_at(step: int, found: RemovalCurriculum) -> tuple[int, ...]:
    example = found.examples([0], step=step)[0]
    assert isinstance(example, LearnedExample)
    return example.kept


def test_the_number_removed_follows_the_epochs() -> None:
    """An epoch has three updates."""
    found = curriculum()
    assert [found.n_removed(step) for step in range(10)] == [math.floor(2 * step / 3) for step in range(10)]
    assert kept_at(0, found) == (0, 1, 2, 3, 4, 5, 6)
    assert kept_at(3, found) == (2, 3, 4, 5, 6)
    assert kept_at(3, curriculum(**{"from": "end"})) == (0, 1, 2, 5, 6)
    assert kept_at(3, curriculum(unit="tokens", remove_per_epoch=3)) == (3, 4, 5, 6)
    assert kept_at(100, found) == (5, 6)


def test_the_optimizer_is_reset_at_each_removal_until_no_steps_are_left() -> None:
    found = curriculum()
    assert [step for step in range(30) if found.resets_optimizer(step)] == [2, 3, 5, 6, 8]


@pytest.mark.parametrize("smoothing", [0.5, 1.0])
def test_offsets_have_the_published_distribution(smoothing: float) -> None:
    found = curriculum(remove_per_epoch=1e-6, smoothing=smoothing)
    offsets = Counter(
        7 - len(example.target_ids) for step in range(400) for example in found.examples(range(N), step=step)
    )
    n = offsets.total()
    weights = [math.exp(-smoothing * o) for o in range(5)]
    shares = [weight * (1 - math.exp(-smoothing)) for weight in weights]
    for offset, share in enumerate(shares):
        assert abs(offsets[offset] / n - share) < 4 * math.sqrt(share * (1 - share) / n)


def test_examples_of_a_step_are_the_same_again() -> None:
    one, other = curriculum(smoothing=1.0), curriculum(smoothing=1.0)
    for step in (7, 2, 7):
        assert one.examples(range(N), step=step) == other.examples(range(N), step=step)


def test_a_reset_leaves_no_average_of_earlier_gradients() -> None:
    """The first update after a reset is that of a new optimizer from the same vectors."""
    form = FORMS["soft"]
    train: list[EncodedExample] = [whole(lesson) for lesson in lessons()]
    chosen = settings(form, steps=4, batch_size=BATCH, warmup=0.0, schedule="constant")
    team = members(form, rates=(1e-2,))
    trained = Trainer(
        hosted(),
        members=team,
        train=train,
        validation=(),
        settings=chosen,
        max_bytes=1 << 30,
        curriculum=curriculum(),
    )
    trained.step()
    trained.step()
    before = trained.tensors(0)["soft"]
    trained.step()
    moved = trained.tensors(0)["soft"] - before
    # AdamW's first update is the rate times the sign of the gradient, wherever the gradient is far from eps.
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 1e-2), rtol=1e-3, atol=0)
