"""Which tokens of a text are steps and which are its answer, and which of them remain in a target."""

from __future__ import annotations

from typing import Any

import pytest
from promptatlas.types.distillation import Target

from service.store.datasets.items import Example
from tests.workers.tuning.small_run import small_model
from workers.evaluation.answer_rules import Chain, chain_of
from workers.tuning.distillation.lessons import LearnedExample, Lesson, StepFinder, fixed_part


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(small_model().tokenizer(text, add_special_tokens=False)["input_ids"])


def example(target: str, **record: Any) -> Example:
    return Example(index=0, split="train", input="t2", target=target, text=None, answers=(), record=record)


def lesson(segments: tuple[int, ...], n_steps: int) -> Lesson:
    ids = tuple(range(10, 10 + len(segments)))
    return Lesson(
        split="train",
        index=0,
        input_ids=(2,),
        teacher_ids=(2,),
        target_ids=ids,
        segments=segments,
        n_steps=n_steps,
    )


@pytest.mark.parametrize(
    ("text", "answer", "chain"),
    [
        (" 10-7=3; 2-0-1=1; 13", "13", Chain((1, 9), 18)),
        ("a = 1\nb = 2\n#### 3", "3", Chain((0, 6), 12)),
        ("\n\nfirst\n  second 9 and 9", "9", Chain((2, 8), 23)),
        ("13", "13", Chain((), 0)),
        (" 13", "13", Chain((), 1)),
        ("One. It is 13", "13", Chain((0, 5), 11)),
        ("One. It is 13", "14", None),
        ("13. It is done", "13", None),
        ("", "13", None),
    ],
)
def test_where_steps_and_answer_begin(text: str, answer: str, chain: Chain | None) -> None:
    assert chain_of(text, answer=answer) == chain


def test_tokens_belong_to_the_step_they_are_in() -> None:
    text = "t3 t4\nt5 t6 t7\nt8"
    finder = StepFinder(small_model(), target=Target())
    segments = finder.segments(example(text, answer="t8"), target_ids=(*ids_of(text), 1))
    assert segments == ((0, 0, 1, 1, 1, 2, 2), 2)


def test_sampled_tokens_need_not_be_those_of_the_text() -> None:
    """A special token, which the text does not show, stands between two others."""
    text = "t3 t4\nt8"
    first, second, last = ids_of(text)
    finder = StepFinder(small_model(), target=Target())
    segments = finder.segments(example(text, answer="t8"), target_ids=(first, 0, second, last, 1))
    assert segments == ((0, 0, 0, 1, 1), 1)


def test_the_answer_is_that_of_the_rule_if_there_is_one() -> None:
    text = "t3 t4\nt5"
    by_rule = Target.model_validate({"answer": {"find": "pattern", "pattern": r"(t\d+)$"}})
    for target, record, expected in (
        (by_rule, {}, ((0, 0, 1), 1)),
        (by_rule, {"answer": "t4"}, ((0, 0, 1), 1)),
        (Target(), {"answer": "t4"}, None),
        (Target(), {}, None),
    ):
        assert (
            StepFinder(small_model(), target=target).segments(example(text, **record), target_ids=ids_of(text))
            == expected
        )


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ("chain", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("answer", (6, 7)),
        ({"steps": 0.34}, (5, 6, 7)),
        ({"steps": 0.34, "from": "end"}, (0, 1, 6, 7)),
        ({"steps": 0.0}, (6, 7)),
        ({"steps": 1.0}, (0, 1, 2, 3, 4, 5, 6, 7)),
        ({"tokens": 0.5}, (3, 4, 5, 6, 7)),
        ({"tokens": 0.5, "from": "end"}, (0, 1, 2, 6, 7)),
    ],
)
def test_what_remains_of_a_chain(part: Any, kept: tuple[int, ...]) -> None:
    own = lesson((0, 0, 1, 1, 1, 2, 3, 3), 3)
    found: LearnedExample = fixed_part(own, target=Target.model_validate({"part": part}))
    assert found.kept == kept
    assert found.target_ids == tuple(own.target_ids[i] for i in kept)
    assert found.target_ids[found.answer_at :] == own.target_ids[6:]
