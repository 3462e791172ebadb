"""Judgement of samples: answer, correctness and steps of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptatlas.types.generation import GenerateSpec

from workers.evaluation.answer_rules import steps_of
from workers.evaluation.judgement import AnswerJudge, Judgement
from workers.generate.samples.trace import Trace

if TYPE_CHECKING:
    from service.store.datasets.items import Example


@dataclass(frozen=True, kw_only=True)
class Judged(Judgement):
    """A sample with its judgement. row: its number in its shard."""

    trace: Trace
    row: int
    n_steps: int


class Judge:
    """Judges samples by the rules of a spec.

    Raises:
        InvalidRequest: The spec's pattern is not valid.
    """

    def __init__(self, spec: GenerateSpec) -> None:
        self._judge = AnswerJudge(rule=spec.answer, metric=spec.metric or "exact_match")

    def judge(self, trace: Trace, *, row: int, example: Example) -> Judged:
        """Compare a sample's answer with those of its item, and count its steps."""
        found = self._judge.judge(trace.text, answers=example.answers)
        steps = steps_of(trace.text, answer=found.answer)
        return Judged(trace=trace, row=row, answer=found.answer, is_correct=found.is_correct, n_steps=len(steps))
