"""Evaluation of students beside their teacher: answers with their lengths, and next-token distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from promptatlas.types.tuning import Metric

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.example_rows import ExampleRow
from workers.inputs.examples import EncodedExample, EvalExample
from workers.inputs.framing import Framing, framed_ids
from workers.tuning.distillation.distributions import Distributions, View, divergence
from workers.tuning.distillation.lessons import Lesson
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.results.evaluation import TEACHER

AGREEMENT_METRICS = ("kl", "agreement")
"""Means over the tokens of an example's target: KL(teacher ‖ student) in nats, and whether both have the same most probable
token. Both models read the target's tokens."""

_WHOLE = View()


@dataclass(frozen=True, kw_only=True)
class EvaluatedTeacher:
    """A model as the teacher: what it reads, and under which prompt."""

    model: HostedModel
    prompt: Prompt | None
    framing: Framing

    @property
    def n_positions(self) -> int:
        """Positions that the prompt leaves."""
        return self.model.n_positions - (0 if self.prompt is None else self.prompt.n_virtual)

    def ids(self, example: EvalExample) -> tuple[int, ...]:
        """What the teacher reads of an example."""
        return framed_ids(self.model.tokenizer, self.framing.input_of(example))

    def framed(self, example: EvalExample) -> EvalExample:
        """The example as the teacher reads it."""
        return replace(example, encoded=EncodedExample(self.ids(example), example.encoded.target_ids))


class DistillEvaluator:
    """Evaluates students and, if there is one, their teacher on the same examples.

    Args:
        prompts: by label; None is the bare model.
        teacher: None if no model is the teacher.
        longest_target: tokens of the longest target that was learned; answers may have at least so many.
        check: called before every forward; its exceptions propagate.
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
            )

        def reader(of: HostedModel, prompt: Prompt | None) -> ModelTeacher:
            return ModelTeacher(of, prompt=prompt, views=[_WHOLE], layers=(), max_bytes=0, check=check)

        self._students = evaluator(model, prompts)
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
        """One row for each label and example, grouped by example."""
        limit = max(max_tokens or 1, self._longest_target)
        own = self._students.rows(examples, max_tokens=limit)
        if self._teacher is None:
            return own
        n = len(self._students.labels)
        found: list[ExampleRow] = []
        for i, example in enumerate(examples):
            found += self._beside_teacher(example, own[i * n : (i + 1) * n], max_tokens=limit)
        return found

    def _beside_teacher(self, example: EvalExample, rows: Sequence[ExampleRow], *, max_tokens: int) -> list[ExampleRow]:
        assert self._teacher is not None
        assert self._teachers is not None
        framed = self._teacher.framed(example)
        n_tokens = len(framed.encoded.input_ids) + len(framed.encoded.target_ids)
        if n_tokens > self._teacher.n_positions:
            # The teacher has no row, but each example has one for each label.
            nothing = ExampleRow(
                label=TEACHER, split=example.split, index=example.index, input=example.input, answers=example.answers
            )
            return [*rows, nothing]
        of_teacher = self._read(self._reader, framed)
        compared = [self._compared(row, self._read(self._readers[row.label], example), of_teacher) for row in rows]
        return [*compared, *self._teachers.rows([framed], max_tokens=max_tokens)]

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

    def _compared(self, row: ExampleRow, own: Distributions, teacher: Distributions) -> ExampleRow:
        log_q = own.log_probs.to(teacher.log_probs.device)
        kl = float(divergence("kl", log_q, teacher).double().mean())
        agreement = float((log_q.argmax(-1) == teacher.log_probs.argmax(-1)).double().mean())
        measured = dict(zip(AGREEMENT_METRICS, (kl, agreement), strict=True))
        return replace(row, scores={**row.scores, **measured}) if math.isfinite(kl) else row
