"""Judgement of samples: answer, correctness and steps of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptatlas.types.generation import GenerateSpec

from workers.evaluation.answer_rules import answer_finder, steps_of
from workers.evaluation.evaluator import ANSWER_METRICS
from workers.generate.samples.trace import Trace

if TYPE_CHECKING:
    from service.store.datasets.items import Example


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A sample with its judgement. row: its number in its shard. answer: None if the rule finds none."""

    trace: Trace
    row: int
    answer: str | None
    is_correct: bool
    n_steps: int


class Judge:
    """Judges samples by the rules of a spec.

    Raises:
        InvalidRequest: The spec's pattern is not valid.
    """

    def __init__(self, spec: GenerateSpec) -> None:
        self._find = answer_finder(spec.answer)
        self._score = ANSWER_METRICS[spec.metric or "exact_match"]

    def judge(self, trace: Trace, *, row: int, example: Example) -> Judged:
        """Compare a sample's answer with those of its item, to which the same rule is applied where it finds something."""
        answer = self._find(trace.text)
        references = [self._find(reference) or reference for reference in example.answers]
        is_correct = answer is not None and bool(references) and self._score(answer, references) >= 1
        steps = steps_of(trace.text, answer=answer)
        return Judged(trace=trace, row=row, answer=answer, is_correct=is_correct, n_steps=len(steps))
