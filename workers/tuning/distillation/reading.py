"""Reads the lessons of a run from the dataset of the teacher's texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from promptatlas.types.datasets import Split
from promptatlas.types.distillation import DistillSpec, StatesLoss

from service.engine.model.hosted_model import HostedModel
from service.errors import InvalidRequest
from service.store.datasets.items import Example
from service.store.datasets.traces.store import TopTokensReader
from workers.inputs.examples import encode, end_of_text
from workers.inputs.framing import Framing, framed_ids
from workers.tuning.distillation.lessons import Lesson, StepFinder


@dataclass(frozen=True, kw_only=True)
class TeacherInputs:
    """How the teacher reads items. model: None if no teacher runs. n_positions: those that its prompt leaves."""

    model: HostedModel | None
    framing: Framing
    n_positions: int


class LessonReader:
    """Encodes examples as lessons, and counts those that are left out, by reason.

    Args:
        max_tokens: limit for input and target of the student, virtual positions not counted.
        top_tokens: stored samples whose token ids are the targets; None: the texts are tokenized.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        spec: DistillSpec,
        max_tokens: int,
        teacher: TeacherInputs,
        top_tokens: TopTokensReader | None,
    ) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._teacher = teacher
        self._top_tokens = top_tokens
        self._end = end_of_text(model)
        self._finder = StepFinder(model, target=spec.target) if needs_steps(spec) else None

    def read(self, examples: Iterable[Example], *, split: Split, log: Callable[[str], None]) -> list[Lesson]:
        """The lessons of a split, in order.

        Raises:
            InvalidRequest: all examples are left out.
        """
        left_out: Counter[str] = Counter()
        found = []
        for example in examples:
            lesson = self._lesson(example, split=split)
            if isinstance(lesson, Lesson):
                found.append(lesson)
            else:
                left_out[lesson] += 1
        n = len(found) + left_out.total()
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        if n and not found:
            raise InvalidRequest(f"None of the {n} {split} examples can be learned: {listed}.")
        if left_out:
            log(f"{left_out.total()} of {n} {split} examples are left out: {listed}.")
        return found

    def _lesson(self, example: Example, *, split: Split) -> Lesson | str:
        encoded, _ = encode(self._model, [example], max_tokens=self._max_tokens)
        if not encoded:
            return "are too long or empty"
        input_ids, target_ids = encoded[0].input_ids, encoded[0].target_ids
        if self._top_tokens is not None:
            sampled = self._sampled_ids(example, text_ids=target_ids)
            if sampled is None or len(input_ids) + len(sampled) > self._max_tokens:
                return "have tokens that do not agree with their text, or are too long"
            target_ids = sampled
        teacher_ids = self._teacher_ids(example, input_ids)
        if len(teacher_ids) + len(target_ids) > self._teacher.n_positions:
            return "are too long for the teacher"
        segments, n_steps = None, 0
        if self._finder is not None:
            steps = self._finder.segments(example, target_ids=target_ids)
            if steps is None:
                return "have no answer in their last step"
            segments, n_steps = steps
        return Lesson(
            split=split,
            index=example.index,
            input_ids=input_ids,
            teacher_ids=teacher_ids,
            target_ids=target_ids,
            segments=segments,
            n_steps=n_steps,
        )

    def _teacher_ids(self, example: Example, input_ids: tuple[int, ...]) -> tuple[int, ...]:
        if self._teacher.model is None:
            return input_ids
        return framed_ids(self._teacher.model.tokenizer, self._teacher.framing.input_of(example))

    def _sampled_ids(self, example: Example, *, text_ids: tuple[int, ...]) -> tuple[int, ...] | None:
        """The generated tokens. A sample that a stop text ended gets the end of text in place of the tokens of the stop."""
        assert self._top_tokens is not None
        ids = tuple(self._top_tokens.row(example.index).ids.tolist())
        # A sample that was cut at its limit goes on, so no end of text is learned.
        if not ids or ids[-1] == self._end or example.record.get("finish_reason") == "length":
            return ids or None
        own = text_ids[:-1] if self._end is not None else text_ids
        return text_ids if ids[: len(own)] == own else None


def needs_steps(spec: DistillSpec) -> bool:
    """Whether a target or a loss depends on where the steps of a text are."""
    at_answer = any(isinstance(term, StatesLoss) and term.position == "answer" for term in spec.loss)
    return spec.target.part != "chain" or at_answer
