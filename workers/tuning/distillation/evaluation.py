"""Evaluation of students beside their teacher: answers with their lengths, and next-token distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from promptatlas.types.tuning import AnswerSampling, Metric

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.example_rows import ExampleRow
from workers.inputs.examples import EvalExample
from workers.tuning.context import EVAL_SEED
from workers.tuning.distillation.distributions import Distributions, View, divergence
from workers.tuning.distillation.evaluated_teacher import OTHER, EvaluatedTeacher, OtherLosses, empty_row
from workers.tuning.distillation.lessons import Lesson
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.results.evaluation import TEACHER

AGREEMENT_METRICS = ("kl", "agreement")
"""Means over the tokens of an example's target: KL(teacher ‖ student) in nats, and whether both have the same most probable
token. Both models read the target's tokens."""

_WHOLE = View()


class DistillEvaluator:
    """Evaluates students and, if there is one, their teacher on the same examples.

    Args:
        prompts: by label; None is the bare model.
        teacher: None if no model is the teacher.
        longest_target: tokens of the longest target that was learned; answers may have at least so many.
        check: called before every forward; its exceptions propagate.
        sampling: sampled answers of each example, in addition to the greedy ones.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        prompts: Mapping[str, Prompt | None],
        teacher: EvaluatedTeacher | None,
        metrics: Sequence[Metric],
        limits: Limits,
        max_tokens: int | None,
        longest_target: int,
        check: Callable[[], None],
        sampling: AnswerSampling | None = None,
    ) -> None:
        def evaluator(of: HostedModel, own: Mapping[str, Prompt | None]) -> Evaluator:
            return Evaluator(
                of,
                prompts=own,
                metrics=metrics,
                limits=limits,
                max_tokens=max_tokens,
                check=check,
                counts_tokens=True,
                sampling=sampling,
                seed=EVAL_SEED,
            )

        def reader(of: HostedModel, prompt: Prompt | None) -> ModelTeacher:
            return ModelTeacher(of, prompt=prompt, views=[_WHOLE], layers=(), max_bytes=0, check=check)

        self._students = evaluator(model, prompts)
        self._other = OtherLosses(model, prompts=prompts, teacher=teacher, limits=limits, check=check)
        self._longest_target = longest_target
        self._teacher = teacher
        self._teachers: Evaluator | None = None
        if teacher is not None:
            self._teachers = evaluator(teacher.model, {TEACHER: teacher.prompt})
            self._reader = reader(teacher.model, teacher.prompt)
            self._readers = {label: reader(model, prompt) for label, prompt in prompts.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows of each example."""
        return self._students.labels if self._teachers is None else (*self._students.labels, TEACHER)

    def rows(self, examples: Sequence[EvalExample], *, max_tokens: int | None = None) -> list[ExampleRow]:
        """One row for each label and example, grouped by example; of text of another domain, with losses only."""
        n, is_other = len(self.labels), [example.split == OTHER for example in examples]
        items = iter(self._item_rows([each for each in examples if each.split != OTHER], max_tokens=max_tokens))
        others = iter(self._other.rows([each for each in examples if each.split == OTHER]))
        return [next(others if other else items) for other in is_other for _ in range(n)]

    def _item_rows(self, examples: Sequence[EvalExample], *, max_tokens: int | None) -> list[ExampleRow]:
        limit = max(max_tokens or 1, self._longest_target)
        own = self._students.rows(examples, max_tokens=limit)
        if self._teacher is None:
            return own
        n, found = len(self._students.labels), []
        read = {
            i: framed for i, example in enumerate(examples) if (framed := self._teacher.framed(example)) is not None
        }
        assert self._teachers is not None
        rows = self._teachers.rows(list(read.values()), max_tokens=limit)
        of_teacher = dict(zip(read, rows, strict=True))
        for i, example in enumerate(examples):
            students = own[i * n : (i + 1) * n]
            if i in read:
                students = self._compared(example, read[i], students)
            found += [*students, of_teacher.get(i) or empty_row(example)]
        return found

    def _compared(self, example: EvalExample, framed: EvalExample, rows: Sequence[ExampleRow]) -> list[ExampleRow]:
        """The students' rows with the scores ``AGREEMENT_METRICS``. framed: the example as the teacher reads it."""
        teacher = self._read(self._reader, framed)
        return [_beside(row, self._read(self._readers[row.label], example), teacher) for row in rows]

    def _read(self, reader: ModelTeacher, example: EvalExample) -> Distributions:
        encoded = example.encoded
        lesson = Lesson(
            split="test",
            index=example.index,
            input_ids=encoded.input_ids,
            teacher_ids=encoded.input_ids,
            target_ids=encoded.target_ids,
        )
        return reader.read(lesson).views[_WHOLE]


def _beside(row: ExampleRow, own: Distributions, teacher: Distributions) -> ExampleRow:
    log_q = own.log_probs.to(teacher.log_probs.device)
    kl = float(divergence("kl", log_q, teacher).double().mean())
    agreement = float((log_q.argmax(-1) == teacher.log_probs.argmax(-1)).double().mean())
    measured = dict(zip(AGREEMENT_METRICS, (kl, agreement), strict=True))
    return replace(row, scores={**row.scores, **measured}) if math.isfinite(kl) else row
