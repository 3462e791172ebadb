"""Tasks and corpus: reproducible from a seed, in splits that share nothing."""

import random
import re

import pytest

from demo.corpus import draw_document, plain_text
from demo.scaffold import CHAIN_TASKS, HEADERS, TASKS, Task
from demo.sums import Sum
from demo.tasks import examples
from demo.world import Split, draw_scene

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ALL_TASKS: tuple[Task, ...] = (*TASKS, *CHAIN_TASKS)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_same_seed_gives_same_examples(task: Task) -> None:
    assert examples(task, split="test", n=23, seed=5) == examples(task, split="test", n=23, seed=5)
    assert examples(task, split="test", n=23, seed=5) != examples(task, split="test", n=23, seed=6)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_splits_share_no_key_and_no_input(task: Task) -> None:
    keys = [{one.key for one in examples(task, split=split, n=211)} for split in SPLITS]
    inputs = [{one.input for one in examples(task, split=split, n=211)} for split in SPLITS]
    for sets in (keys, inputs):
        assert not sets[0] & sets[1]
        assert not sets[0] & sets[2]
        assert not sets[1] & sets[2]


@pytest.mark.parametrize("task", ALL_TASKS)
def test_scaffold_is_the_header_line_and_nothing_else(task: Task) -> None:
    headed = examples(task, split="validation", n=17)
    for shown, plain in zip(headed, examples(task, split="validation", n=17, scaffold=False), strict=True):
        header, _, body = shown.input.partition("\n")
        assert header in HEADERS[task]
        assert body == plain.input
        assert shown.target == plain.target
        assert shown.target.startswith(" ")


def test_more_examples_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected 100000 different arithmetic examples in test, found only"):
        examples("arithmetic", split="test", n=100_000)


def test_corpus_is_reproducible() -> None:
    first, second = random.Random(3), random.Random(3)
    assert [draw_document(first) for _ in range(50)] == [draw_document(second) for _ in range(50)]


def test_corpus_holds_no_held_out_sum() -> None:
    rng = random.Random(11)
    text = "\n".join(plain_text(draw_document(rng)) for _ in range(3000))
    found = [
        Sum(int(left), sign, int(right))
        for left, sign, right in re.findall(r"^(\d+) ([+-]) (\d+) =", text, re.MULTILINE)
    ]
    assert len(found) > 1000
    assert {one.split for one in found} == {"train"}


def test_corpus_holds_no_held_out_fact() -> None:
    rng = random.Random(13)
    text = "\n".join(plain_text(draw_document(rng)) for _ in range(3000))
    seen = {frozenset(pair) for pair in re.findall(r"(\w+) (?:is in|went to|walked to|waited in) the (\w+)", text)}
    held_out = [one for one in examples("qa", split="test", n=300) if one.key.startswith("at(")]
    assert len(seen) > 100
    assert not seen & {frozenset(re.findall(r"\w+", one.key)[1:]) for one in held_out}


def test_scene_is_unambiguous() -> None:
    rng = random.Random(17)
    for _ in range(300):
        scene = draw_scene(rng, split="test", n_facts=5)
        words = [word for fact in scene.facts for word in (fact.a, fact.b)]
        assert len(set(words)) == len(words)
        assert scene.facts[0].split == "test"
        assert {fact.split for fact in scene.facts[1:]} == {"train"}


def test_answer_is_in_the_context() -> None:
    for task in ("qa", "cloze"):
        for one in examples(task, split="test", n=101, scaffold=False):
            assert re.search(rf"\b{one.answer}\b", one.input)


@pytest.mark.parametrize(
    ("drawn", "steps"),
    [
        (Sum(37, "+", 45), "7+5=12; 3+4+1=8; 82"),
        (Sum(82, "-", 45), "12-5=7; 8-4-1=3; 37"),
        (Sum(7, "+", 8), "7+8=15; 15"),
        (Sum(75, "+", 81), "5+1=6; 7+8=15; 156"),
        (Sum(52, "-", 45), "12-5=7; 5-4-1=0; 7"),
    ],
)
def test_steps_have_the_format_of_the_corpus(drawn: Sum, steps: str) -> None:
    assert drawn.steps == steps


def test_steps_are_correct() -> None:
    for one in examples("arithmetic-cot", split="train", n=199):
        *columns, result = one.target.strip().split("; ")
        for column in columns:
            left, right = column.split("=")
            assert eval(left) == int(right)
        assert result == one.answer


def test_answer_ends_the_output() -> None:
    direct = examples("arithmetic", split="test", n=1)[0]
    assert direct.is_answered_by(direct.target)
    assert not direct.is_answered_by(direct.target + " and more")
    assert not direct.is_answered_by(direct.target + " [cut]")
    steps = examples("arithmetic-cot", split="test", n=1)[0]
    assert steps.is_answered_by(steps.target)
    assert not steps.is_answered_by(steps.target + " [cut]")
