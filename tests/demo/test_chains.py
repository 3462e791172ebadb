"""Chains: the holder after five hands by following the list, and splits without a common path."""

import random
import re

import pytest

from demo.chains import N_HANDS, N_PEOPLE, Chain, Style, draw_chain
from demo.corpus import CORPORA, MIXTURE, STEPS_MIXTURE, draw_document, plain_text
from demo.scaffold import CHAIN_TASKS, Task
from demo.tasks import examples
from demo.world import Split

PAIR = re.compile(r"(\w+) (\w+)[;.]")
CHAIN = Chain(("Mira", "Hugo", "Nora", "Karl", "Anna", "Lena", "Otto"), (2, 0, 6, 1, 5, 3, 4))


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("direct", "Lena"),
        ("steps", "Mira Hugo; Hugo Nora; Nora Karl; Karl Anna; Anna Lena; Lena"),
        ("brief", "Hugo Nora Karl Anna Lena"),
    ],
)
def test_styles(style: Style, text: str) -> None:
    assert CHAIN.expression == (
        " Nora Karl; Mira Hugo; Otto Mira; Hugo Nora; Lena Otto; Karl Anna; Anna Lena. From Mira:"
    )
    assert CHAIN.text(style) == text


def test_the_list_leads_to_every_holder_and_shows_no_end() -> None:
    rng = random.Random(5)
    for _ in range(200):
        drawn = draw_chain(rng, split="test")
        pairs = dict(PAIR.findall(drawn.expression))
        assert len(pairs) == N_PEOPLE
        assert set(pairs) == set(pairs.values())
        holder = drawn.expression.rpartition(" ")[2].removesuffix(":")
        found = [holder]
        for _ in range(N_HANDS):
            holder = pairs[holder]
            found.append(holder)
        assert tuple(found) == drawn.path
        assert len(set(found)) == N_HANDS + 1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_drawn_chains_are_of_their_split(split: Split) -> None:
    rng = random.Random(7)
    assert {draw_chain(rng, split=split).split for _ in range(50)} == {split}


@pytest.mark.parametrize("task", ["chain-cot", "chain-brief"])
def test_the_last_word_is_the_answer(task: Task) -> None:
    one = examples(task, split="test", n=1)[0]
    assert one.is_answered_by(one.target)
    assert one.target.endswith(f" {one.answer}")
    assert not one.is_answered_by(f"{one.target};")
    assert not one.is_answered_by(f"{one.target} [cut]")


def test_corpus_of_the_steps_model_holds_no_held_out_chain() -> None:
    rng = random.Random(11)
    n = 0
    for _ in range(800):
        text = plain_text(draw_document(rng, mixture=STEPS_MIXTURE))
        for listed, first in re.findall(r"^ ((?:\w+ \w+[;.] ?){10})From (\w+):", text, re.MULTILINE):
            follower, circle = dict(PAIR.findall(listed)), [first]
            while len(circle) < N_PEOPLE:
                circle.append(follower[circle[-1]])
            assert Chain(tuple(circle), tuple(range(N_PEOPLE))).split == "train"
            n += 1
    assert n > 300


def test_corpus_of_the_steps_model_has_all_documents_of_the_demo_model() -> None:
    assert CORPORA == {"demo": MIXTURE, "steps": STEPS_MIXTURE}
    assert set(MIXTURE) < set(STEPS_MIXTURE)
    assert {task for task, _ in STEPS_MIXTURE.keys() - MIXTURE.keys()} == set(CHAIN_TASKS)


def test_documents_of_the_demo_model_have_no_chain() -> None:
    rng = random.Random(3)
    assert not any("From " in plain_text(draw_document(rng)) for _ in range(1000))
