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
        n, found = len(self._students.labels), []
        framed = [self._teacher.framed(example) for example in examples]
        of_teacher = self._teacher_rows(framed, max_tokens=limit)
        for i, example in enumerate(examples):
            students = own[i * n : (i + 1) * n]
            if i in of_teacher:
                students = self._compared(example, framed[i], students)
            found += [*students, of_teacher.get(i) or _empty_row(example)]
        return found

    def _teacher_rows(self, framed: Sequence[EvalExample], *, max_tokens: int) -> dict[int, ExampleRow]:
        """A row of the teacher for each example that is not too long for it, by index."""
        assert self._teacher is not None
        assert self._teachers is not None
        fitting = [i for i, example in enumerate(framed) if _n_tokens(example) <= self._teacher.n_positions]
        rows = self._teachers.rows([framed[i] for i in fitting], max_tokens=max_tokens)
        return dict(zip(fitting, rows, strict=True))

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


def _n_tokens(example: EvalExample) -> int:
    return len(example.encoded.input_ids) + len(example.encoded.target_ids)


def _empty_row(example: EvalExample) -> ExampleRow:
    return ExampleRow(
        label=TEACHER, split=example.split, index=example.index, input=example.input, answers=example.answers
    )
