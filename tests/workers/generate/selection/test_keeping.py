from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from workers.generate.samples.trace import Trace
from workers.generate.selection.judgement import Judged
from workers.generate.selection.keeping import kept


def sample(number: int, *, answer: str | None, correct: bool = False, n_tokens: int = 5, **fields: Any) -> Judged:
    known = {"item": 4, "prompt": 0, "sample": number, "seed": 0, "text": f"text {number}", "finish_reason": "stop"}
    trace = Trace(**{**known, "n_input": 3, "n_tokens": n_tokens, **fields})
    return Judged(trace=trace, row=number, answer=answer, is_correct=correct, n_steps=0)


SAMPLES = [
    sample(0, answer="7", n_tokens=9),
    sample(1, answer="8", correct=True, n_tokens=6),
    sample(2, answer=None),
    sample(3, answer="7", n_tokens=4),
    sample(4, answer="8", correct=True, n_tokens=5),
    sample(5, answer="8", correct=True, n_tokens=5),
    sample(6, answer=None),
    sample(7, answer=None),
    sample(8, answer=None),
]


def numbers(keep: Any, samples: list[Judged] = SAMPLES, *, seed: int = 0, dedupe: bool = False) -> list[int]:
    return [each.row for each in kept(samples, keep=keep, dedupe=dedupe, seed=seed)]


@pytest.mark.parametrize(
    ("keep", "rows"),
    [("all", list(range(9))), ("correct", [1, 4, 5]), ("shortest_correct", [4]), ("majority", [1, 4, 5])],
)
def test_what_is_kept(keep: Any, rows: list[int]) -> None:
    assert numbers(keep) == rows


def test_of_equally_frequent_answers_the_first_is_kept() -> None:
    assert numbers("majority", SAMPLES[:5]) == [0, 3]


def test_without_answers_or_correct_samples_nothing_is_kept() -> None:
    for keep in ("correct", "shortest_correct", "random_correct", "majority"):
        assert numbers(keep, SAMPLES[6:]) == []
    assert numbers("majority", []) == numbers("all", []) == []


def test_a_random_correct_sample_depends_on_the_seed_alone() -> None:
    drawn = Counter(tuple(numbers("random_correct", seed=seed)) for seed in range(300))
    assert set(drawn) == {(1,), (4,), (5,)}
    assert min(drawn.values()) > 60
    assert numbers("random_correct", seed=7) == numbers("random_correct", seed=7)


def test_equal_texts_are_kept_once() -> None:
    texts = ["a b", "c", " a  b\n", "c", "d"]
    samples = [sample(i, answer="7", text=text) for i, text in enumerate(texts)]
    assert numbers("all", samples, dedupe=True) == [0, 1, 4]
    assert numbers("all", samples) == [0, 1, 2, 3, 4]
