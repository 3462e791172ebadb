"""Chains: positions as in Python's own arithmetic, and splits without a common chain."""

import random
import re

import pytest

from demo.chains import Chain, Style, draw_chain
from demo.corpus import CORPORA, MIXTURE, STEPS_MIXTURE, draw_document, plain_text
from demo.scaffold import CHAIN_TASKS
from demo.tasks import examples
from demo.world import Split

CHAIN = Chain(3, (5, -9, 4, -6, 7, -2))


@pytest.mark.parametrize(("style", "text"), [("direct", "2"), ("steps", "8; 9; 3; 7; 4; 2"), ("brief", "9; 7; 2")])
def test_styles(style: Style, text: str) -> None:
    assert CHAIN.expression == "3 + 5 - 9 + 4 - 6 + 7 - 2 ="
    assert CHAIN.text(style) == text


def test_positions_are_those_of_the_expression() -> None:
    rng = random.Random(5)
    for _ in range(200):
        drawn = draw_chain(rng, split="test")
        words = drawn.expression.removesuffix(" =").split()
        prefixes = [" ".join(words[: 2 * n + 3]) for n in range(len(drawn.positions))]
        assert [eval(prefix) % 10 for prefix in prefixes] == list(drawn.positions)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_drawn_chains_are_of_their_split(split: Split) -> None:
    rng = random.Random(7)
    assert {draw_chain(rng, split=split).split for _ in range(50)} == {split}


def test_tasks_share_their_chains_and_differ_in_targets() -> None:
    direct, steps, brief = ({one.answer for one in examples(task, split="test", n=40)} for task in CHAIN_TASKS)
    assert direct | steps | brief <= set(map(str, range(10)))
    one = examples("chain-brief", split="test", n=1)[0]
    assert one.is_answered_by(one.target)
    assert not one.is_answered_by(f"{one.target};")
    assert not one.is_answered_by(f"{one.target} [cut]")


def test_corpus_of_the_steps_model_holds_no_held_out_chain() -> None:
    rng = random.Random(11)
    text = "\n".join(plain_text(draw_document(rng, mixture=STEPS_MIXTURE)) for _ in range(800))
    found = re.findall(r"^(\d)((?: [+-] \d){6}) =", text, re.MULTILINE)
    chains = [
        Chain(int(first), tuple(int(one.replace(" ", "")) for one in re.findall(r"[+-] \d", rest)))
        for first, rest in found
    ]
    assert len(chains) > 300
    assert {chain.split for chain in chains} == {"train"}


def test_corpus_of_the_steps_model_has_all_documents_of_the_demo_model() -> None:
    assert CORPORA == {"demo": MIXTURE, "steps": STEPS_MIXTURE}
    assert set(MIXTURE) < set(STEPS_MIXTURE)
    assert {task for task, _ in STEPS_MIXTURE.keys() - MIXTURE.keys()} == set(CHAIN_TASKS)


def test_documents_of_the_demo_model_have_no_chain() -> None:
    rng = random.Random(3)
    assert not any(re.search(r"\d [+-] \d [+-]", plain_text(draw_document(rng))) for _ in range(1000))
