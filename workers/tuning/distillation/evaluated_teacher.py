"""The teacher of an evaluation: what it reads of each example, and losses on text of another domain for it and its students."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.example_rows import ExampleRow
from workers.inputs.examples import EncodedExample, EvalExample
from workers.inputs.framing import Framing, framed_ids
from workers.tuning.results.evaluation import TEACHER

OTHER = "other"
"""Split, in rows and metrics, of text of another domain."""


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

    @property
    def n_in_front(self) -> int:
        """Tokens of a context that is the same for all items, in front of running text."""
        return len(framed_ids(self.model.tokenizer, self.framing.front() or ""))

    def framed(self, example: EvalExample) -> EvalExample | None:
        """The example as the teacher reads it; None if it has no context, or is too long for the teacher."""
        if not self.framing.has_context(example):
            return None
        ids = framed_ids(self.model.tokenizer, self.framing.input_of(example))
        return self._fitting(example, ids)

    def framed_other(self, example: EvalExample) -> EvalExample | None:
        """An example of another dataset as the teacher reads it, with the same target tokens.

        Running text follows the context. None if the context is a chat or a field of a record, which running text does not
        have, and as for ``framed``.
        """
        if example.input is not None:
            # No shot is left out: the numbers of records are those of another dataset.
            return self.framed(replace(example, index=-1))
        front = self.framing.front()
        if front is None:
            return None
        special = tuple(self.model.tokenizer("")["input_ids"])
        own = example.encoded.input_ids
        # The first token of a text may be a special one, which is in front of the context.
        ids = framed_ids(self.model.tokenizer, front) if front else special
        return self._fitting(example, ids if own == special else (*ids, *own))

    def _fitting(self, example: EvalExample, ids: tuple[int, ...]) -> EvalExample | None:
        target_ids = example.encoded.target_ids
        if len(ids) + len(target_ids) > self.n_positions:
            return None
        return replace(example, encoded=EncodedExample(ids, target_ids))


class OtherLosses:
    """Losses of students and, if there is one, their teacher on text of another domain."""

    def __init__(
        self,
        model: HostedModel,
        *,
        prompts: Mapping[str, Prompt | None],
        teacher: EvaluatedTeacher | None,
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        fixed: dict[str, Any] = {"metrics": ["loss"], "limits": limits, "check": check}
        self._students = Evaluator(model, prompts=prompts, **fixed)
        self._teacher = teacher
        self._teachers = (
            None if teacher is None else Evaluator(teacher.model, prompts={TEACHER: teacher.prompt}, **fixed)
        )

    def rows(self, examples: Sequence[EvalExample]) -> list[ExampleRow]:
        """One row for each label and example, grouped by example; the teacher's is the last."""
        own = self._students.rows(examples)
        if self._teacher is None or self._teachers is None:
            return own
        n, found = len(self._students.labels), []
        framed = [self._teacher.framed_other(example) for example in examples]
        of_teacher = iter(self._teachers.rows([example for example in framed if example is not None]))
        for i, example in enumerate(examples):
            row = empty_row(example) if framed[i] is None else replace(next(of_teacher), index=example.index)
            found += [*own[i * n : (i + 1) * n], row]
        return found


def loss_examples(examples: Iterable[EvalExample]) -> list[EvalExample]:
    """The examples as text of another domain, without answers, so that none is generated."""
    return [replace(example, split=OTHER, answers=()) for example in examples]


def empty_row(example: EvalExample) -> ExampleRow:
    """The row of a teacher that does not read an example."""
    return ExampleRow(
        label=TEACHER, split=example.split, index=example.index, input=example.input, answers=example.answers
    )
