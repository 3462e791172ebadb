"""How well an output answers: exact match, precision, recall and token F1 as SQuAD counts them, and accuracy to the letter.

Each score compares an output with one answer and is 0…1; with several right answers the best one counts, for each score
by itself. Definitions: Rajpurkar et al. (2016), https://arxiv.org/abs/1606.05250, and its evaluation script; the case of
texts without any token is that of the script of SQuAD 2.0.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Overlap:
    """Shares of tokens: of the output that the answer has, of the answer that the output has, and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def normalise(text: str) -> str:
    """SQuAD's normal form: lower case, without ASCII punctuation and English articles, single spaces between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(output: str, answers: Sequence[str]) -> float:
    """1 if the output's normal form is that of one of the answers."""
    given = normalise(output)
    return float(any(given == normalise(answer) for answer in answers))


def accuracy(output: str, answers: Sequence[str]) -> float:
    """1 if the output is the first answer to the letter; only white space at the ends, and how much of it, is forgiven.

    Unlike an exact match it tells −5 from 5 and It from it, and knows one reference, so it is a classifier's accuracy.
    """
    return float(_to_the_letter(output) == _to_the_letter(answers[0]))


def overlap(output: str, answer: str) -> Overlap:
    """Tokens that output and answer share, each as often as both have it. Two texts without tokens agree wholly."""
    given, wanted = normalise(output).split(), normalise(answer).split()
    if not given or not wanted:
        return Overlap(*[float(given == wanted)] * 3)
    n_shared = sum((Counter(given) & Counter(wanted)).values())
    if n_shared == 0:
        return Overlap(0.0, 0.0, 0.0)
    precision, recall = n_shared / len(given), n_shared / len(wanted)
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


def f1(output: str, answers: Sequence[str]) -> float:
    """Token F1 with the answer that gives the highest."""
    return _best(output, answers, lambda found: found.f1)


def precision(output: str, answers: Sequence[str]) -> float:
    """Token precision with the answer that gives the highest."""
    return _best(output, answers, lambda found: found.precision)


def recall(output: str, answers: Sequence[str]) -> float:
    """Token recall with the answer that gives the highest."""
    return _best(output, answers, lambda found: found.recall)


def _best(output: str, answers: Sequence[str], part: Callable[[Overlap], float]) -> float:
    return max(part(overlap(output, answer)) for answer in answers)


def _to_the_letter(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
