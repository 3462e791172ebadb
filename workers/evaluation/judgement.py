"""Judgement of one generated text: its answer, and whether it is correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptatlas.types.answers import AnswerRule
from promptatlas.types.tuning import Metric

from workers.evaluation.answer_metrics import ANSWER_METRICS
from workers.evaluation.answer_rules import answer_finder


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """answer: None if the rule finds none. is_correct: whether the metric of the answer is 1."""

    answer: str | None
    is_correct: bool


class AnswerJudge:
    """Finds the answers of texts by a rule, and compares them by a metric.

    Raises:
        InvalidRequest: the rule's pattern is not valid.
    """

    def __init__(self, *, rule: AnswerRule, metric: Metric) -> None:
        self._find = answer_finder(rule)
        self._score = ANSWER_METRICS[metric]

    def judge(self, text: str, *, answers: Sequence[str]) -> Judgement:
        """Compare the answer of a text with the correct ones, to which the same rule is applied where it finds something."""
        answer = self._find(text)
        references = [self._find(reference) or reference for reference in answers]
        is_correct = answer is not None and bool(references) and self._score(answer, references) >= 1
        return Judgement(answer=answer, is_correct=is_correct)
