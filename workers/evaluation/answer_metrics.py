"""Answer metrics: exact match, token precision, recall and F1 as defined by SQuAD, and exact-string accuracy.

Each score is between 0 and 1. With several correct answers each metric takes the best one. Definitions: Rajpurkar et al.
(2016), https://arxiv.org/abs/1606.05250, and its evaluation script; texts without tokens are scored as in the SQuAD 2.0
script.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workers.evaluation.numeric_match import numeric_match

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class TokenOverlap:
    """Token overlap. precision: share of output tokens in the answer; recall: share of answer tokens in the output."""

    precision: float
    recall: float
    f1: float


def normalize(text: str) -> str:
    """Normalize as SQuAD does: lower case, no ASCII punctuation, no English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(output: str, answers: Sequence[str]) -> float:
    """1 if the normalized output equals one of the normalized answers."""
    predicted = normalize(output)
    return float(any(predicted == normalize(answer) for answer in answers))


def accuracy(output: str, answers: Sequence[str]) -> float:
    """1 if the output equals the first answer, apart from whitespace.

    Unlike ``exact_match`` it is sensitive to case and punctuation and has one reference, like a classifier's accuracy.
    """
    return float(_canonical(output) == _canonical(answers[0]))


def overlap(output: str, answer: str) -> TokenOverlap:
    """Overlap of the two bags of tokens. Two texts without tokens score 1."""
    predicted, expected = normalize(output).split(), normalize(answer).split()
    if not predicted or not expected:
        return TokenOverlap(*[float(predicted == expected)] * 3)
    n_shared = sum((Counter(predicted) & Counter(expected)).values())
    if n_shared == 0:
        return TokenOverlap(0.0, 0.0, 0.0)
    precision, recall = n_shared / len(predicted), n_shared / len(expected)
    return TokenOverlap(precision, recall, 2 * precision * recall / (precision + recall))


def f1(output: str, answers: Sequence[str]) -> float:
    """Token F1 against the best answer."""
    return _best(output, answers, lambda scores: scores.f1)


def precision(output: str, answers: Sequence[str]) -> float:
    """Token precision against the best answer."""
    return _best(output, answers, lambda scores: scores.precision)


def recall(output: str, answers: Sequence[str]) -> float:
    """Token recall against the best answer."""
    return _best(output, answers, lambda scores: scores.recall)


def _best(output: str, answers: Sequence[str], part: Callable[[TokenOverlap], float]) -> float:
    return max(part(overlap(output, answer)) for answer in answers)


def _canonical(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


ANSWER_METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": exact_match,
    "f1": f1,
    "precision": precision,
    "recall": recall,
    "accuracy": accuracy,
    "numeric_match": numeric_match,
}
"""Metric → function that scores an output against all correct answers."""
