"""pass@k and majority@k against all subsets, one by one."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import hypergeom

from workers.evaluation.judgement import AnswerJudge, Judgement
from workers.evaluation.repeated_samples import default_ks, majority_at_k, measures_of, names_of, pass_at_k

RIGHT = frozenset("AB")
"""Correct answers. A dot is a sample without an answer."""

CASES = ("A", "x", ".", "AA", "Ax", "AxxA", "AB", "ABx.", "AAxxyyzz", "AABBxxx.", "xxAxAyA..", "AAAxxxxy", "ABABxxyyy.")


def samples(text: str) -> list[Judgement]:
    return [Judgement(answer=None if each == "." else each, is_correct=each in RIGHT) for each in text]


def voted(subset: tuple[Judgement, ...]) -> float:
    """The probability that the vote of a subset is correct, where one of equally frequent answers is drawn."""
    votes = Counter(each.answer for each in subset if each.answer is not None)
    best = [answer for answer, count in votes.items() if count == max(votes.values())]
    return sum(answer in RIGHT for answer in best) / len(best) if best else 0.0


@pytest.mark.parametrize("text", CASES)
def test_both_are_means_over_all_subsets(text: str) -> None:
    given = samples(text)
    ks = range(1, len(given) + 1)
    found = measures_of(given, ks=ks)
    for k in ks:
        subsets = list(combinations(given, k))
        passed = np.mean([any(each.is_correct for each in subset) for subset in subsets])
        assert found[f"pass@{k}"] == pytest.approx(passed, abs=1e-12)
        assert found[f"majority@{k}"] == pytest.approx(np.mean([voted(subset) for subset in subsets]), abs=1e-12)


def test_every_small_multiset_of_votes() -> None:
    for counts in product(range(4), repeat=3):
        first, second, third = counts
        given = samples("A" * first + "x" * second + "y" * third + ".")
        for k in range(1, len(given) + 1):
            expected = np.mean([voted(subset) for subset in combinations(given, k)])
            assert measures_of(given, ks=[k])[f"majority@{k}"] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_is_a_tail_of_the_hypergeometric_distribution() -> None:
    for n, n_correct, k in [(128, 1, 64), (128, 100, 128), (200, 7, 10), (64, 0, 3), (64, 64, 1)]:
        expected = 1 - hypergeom.pmf(0, n, n_correct, k)
        assert pass_at_k(n, n_correct, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_is_unbiased() -> None:
    """Its mean over samples that are correct with probability p is the probability that one of k is correct."""
    n, p = 12, 0.3
    for k in (1, 4, 12):
        weights = [float(value) for value in np.random.default_rng(0).binomial(n, p, size=200_000)]
        mean = np.mean([pass_at_k(n, int(c), k) for c in weights])
        assert mean == pytest.approx(1 - (1 - p) ** k, abs=0.005)


def test_many_samples_with_two_answers_are_a_hypergeometric_vote() -> None:
    n_right, n_wrong, k = 70, 58, 33
    expected = hypergeom.sf(k // 2, n_right + n_wrong, n_right, k)
    assert majority_at_k((n_right,), (n_wrong,), n_blank=0, k=k) == pytest.approx(expected, rel=1e-10)


def test_many_samples_with_many_answers() -> None:
    """All 128 samples differ, so any of those that are drawn may win."""
    value = majority_at_k((1,), (1,) * 126, n_blank=1, k=64)
    # The correct sample is drawn with the blank one, and then wins among 63, or without it, and wins among 64.
    with_blank = 64 * 63 / (128 * 127) / 63
    without = 64 * 64 / (128 * 127) / 64
    assert value == pytest.approx(with_blank + without, rel=1e-10)


def test_the_default_sizes() -> None:
    assert default_ks(1) == [1]
    assert default_ks(6) == [1, 2, 4, 6]
    assert default_ks(8) == [1, 2, 4, 8]
    assert names_of([1, 6]) == ["pass@1", "pass@6", "majority@1", "majority@6"]


def test_the_rule_is_applied_to_samples_and_to_correct_answers() -> None:
    from promptatlas.types.answers import LastNumber

    judge = AnswerJudge(rule=LastNumber(find="last_number"), metric="numeric_match")
    assert judge.judge("1 + 2 = 3", answers=["so 3.0"]) == Judgement(answer="3", is_correct=True)
    assert judge.judge("1 + 2 = 4", answers=["3"]) == Judgement(answer="4", is_correct=False)
    assert judge.judge("none", answers=["3"]) == Judgement(answer=None, is_correct=False)
    assert judge.judge("3", answers=[]) == Judgement(answer="3", is_correct=False)
