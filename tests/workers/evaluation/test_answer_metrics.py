"""Scores of answers against the evaluation script of SQuAD v1.1, written anew from its definition, and cases by hand."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from workers.evaluation import answer_metrics as answers

WORDS = ("the", "a", "An", "Rome", "rome,", "in", "-5", "5", "U.S.", "1,234", "it's", "theatre", "—", "été", "!")


def squad_normal(text: str) -> str:
    def without_articles(words: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", words)

    lowered = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(without_articles(lowered).split())


def squad_f1(output: str, answer: str) -> float:
    given, wanted = squad_normal(output).split(), squad_normal(answer).split()
    n_same = sum((Counter(given) & Counter(wanted)).values())
    if n_same == 0:
        return 0.0
    precision, recall = n_same / len(given), n_same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def squad_exact(output: str, answer: str) -> bool:
    return squad_normal(output) == squad_normal(answer)


def best(metric: Callable[[str, str], float], output: str, wanted: Sequence[str]) -> float:
    return max(metric(output, answer) for answer in wanted)


def texts(seed: int) -> tuple[str, list[str]]:
    rng = random.Random(seed)

    def text() -> str:
        return rng.choice(["", " ", "\n"]).join([" ".join(rng.choices(WORDS, k=rng.randint(1, 6))), ""])

    return text(), [text() for _ in range(rng.randint(1, 3))]


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_exact_match_and_f1_are_those_of_squad(first: int) -> None:
    n_partial = 0
    for seed in range(first, first + 100):
        output, wanted = texts(seed)
        assert answers.exact_match(output, wanted) == best(squad_exact, output, wanted)
        if all(squad_normal(text) for text in (output, *wanted)):
            expected = best(squad_f1, output, wanted)
            assert answers.f1(output, wanted) == pytest.approx(expected, abs=1e-12)
            n_partial += 0 < expected < 1
    assert n_partial > 10


def test_precision_and_recall_by_hand() -> None:
    # Two of three tokens of the output are in the answer, which has four.
    overlap = answers.overlap("the Gothic Library hall!", "The old Gothic library building")
    assert overlap.precision == pytest.approx(2 / 3)
    assert overlap.recall == pytest.approx(2 / 4)
    assert overlap.f1 == pytest.approx(4 / 7)


def test_a_repeated_token_counts_as_often_as_both_have_it() -> None:
    assert answers.overlap("no no no", "no no").precision == pytest.approx(2 / 3)
    assert answers.overlap("no no no", "no no").recall == 1.0


def test_the_best_answer_counts_for_each_score_by_itself() -> None:
    wanted = ["Rome", "the city of Rome in Italy"]
    assert answers.precision("Rome in Italy", wanted) == 1.0
    assert answers.recall("Rome in Italy", wanted) == 1.0
    assert answers.f1("Rome in Italy", wanted) == pytest.approx(2 * 1 * 0.6 / 1.6)
    assert answers.exact_match("ROME.", wanted) == 1.0


def test_texts_without_tokens_agree_with_each_other_only() -> None:
    assert answers.f1("the", ["a!"]) == answers.exact_match("the", ["a!"]) == 1.0
    assert answers.f1("", ["Rome"]) == answers.precision("", ["Rome"]) == 0.0
    assert answers.f1("Rome", ["the"]) == answers.recall("Rome", ["the"]) == 0.0


@pytest.mark.parametrize(
    ("output", "wanted", "expected"),
    [
        (" Rome\n", ["Rome"], 1.0),
        ("New  York", ["New York"], 1.0),
        ("cafe\u0301", ["caf\u00e9"], 1.0),
        ("rome", ["Rome"], 0.0),
        ("-5", ["5"], 0.0),
        ("Rome.", ["Rome"], 0.0),
        ("Roma", ["Rome", "Roma"], 0.0),
    ],
)
def test_accuracy_is_the_first_answer_to_the_letter(output: str, wanted: list[str], expected: float) -> None:
    assert answers.accuracy(output, wanted) == expected
