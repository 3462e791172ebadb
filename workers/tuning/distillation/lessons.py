"""Texts that students learn: token ids with their steps, and the parts of them that are targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptatlas.types.datasets import Split
from promptatlas.types.distillation import Removal, StepShare, Target, TokenShare

from service.engine.model.hosted_model import HostedModel
from service.store.datasets.items import Example
from workers.evaluation.answer_rules import FindAnswer, answer_finder, chain_of
from workers.inputs.examples import EncodedExample


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One whole text of the teacher.

    Attributes:
        index: number of the record in its dataset.
        input_ids: what the student reads. teacher_ids: what the teacher reads instead.
        target_ids: the whole text, end of text included.
        segments: number of the step that each target token belongs to; ``n_steps`` for tokens of the answer. None if the steps
            are not known, because no target needs them.
        n_steps: number of steps.
        is_sampled: whether a student has generated the text.
    """

    split: Split
    index: int
    input_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    segments: tuple[int, ...] | None = None
    n_steps: int = 0
    is_sampled: bool = False

    @property
    def n_step_tokens(self) -> int:
        """Target tokens before the answer."""
        return 0 if self.segments is None else sum(segment < self.n_steps for segment in self.segments)

    def without(self, n: int, *, unit: str, removed_from: str) -> tuple[int, ...]:
        """Indices of the target tokens that remain when ``n`` steps or step tokens are removed. The answer always remains."""
        segments = self.segments or ()
        if unit == "steps":
            first, last = (n, self.n_steps) if removed_from == "start" else (0, self.n_steps - n)
            return tuple(i for i, s in enumerate(segments) if first <= s < last or s == self.n_steps)
        n_steps = self.n_step_tokens
        kept = range(min(n, n_steps), n_steps) if removed_from == "start" else range(max(0, n_steps - n))
        return (*kept, *range(n_steps, len(segments)))


@dataclass(frozen=True, slots=True)
class LearnedExample(EncodedExample):
    """The part of a lesson that is trained on. kept: indices of its tokens in the lesson's target, ascending."""

    lesson: Lesson
    kept: tuple[int, ...]

    @property
    def is_reused(self) -> bool:
        """Samples are used once."""
        return not self.lesson.is_sampled

    @property
    def answer_at(self) -> int:
        """Index in ``target_ids`` of the first token of the answer."""
        lesson = self.lesson
        segments = lesson.segments or (0,) * len(lesson.target_ids)
        return next((i for i, k in enumerate(self.kept) if segments[k] == lesson.n_steps), len(self.kept) - 1)


def whole(lesson: Lesson) -> LearnedExample:
    """A lesson with its whole target."""
    return part_of(lesson, kept=tuple(range(len(lesson.target_ids))))


def part_of(lesson: Lesson, *, kept: Sequence[int]) -> LearnedExample:
    """A lesson with the target tokens at the indices ``kept``."""
    return LearnedExample(lesson.input_ids, tuple(lesson.target_ids[i] for i in kept), lesson, tuple(kept))


def fixed_part(lesson: Lesson, *, target: Target) -> LearnedExample:
    """The target that does not change during training: the whole chain, the answer, or a share of the steps."""
    part = target.part
    if part == "answer":
        return part_of(lesson, kept=lesson.without(lesson.n_steps, unit="steps", removed_from="start"))
    if isinstance(part, StepShare):
        n = lesson.n_steps - round(part.steps * lesson.n_steps)
        return part_of(lesson, kept=lesson.without(n, unit="steps", removed_from=part.from_))
    if isinstance(part, TokenShare):
        n = lesson.n_step_tokens - round(part.tokens * lesson.n_step_tokens)
        return part_of(lesson, kept=lesson.without(n, unit="tokens", removed_from=part.from_))
    return whole(lesson)


def removed_part(lesson: Lesson, *, removal: Removal, n: int) -> LearnedExample:
    """A lesson without ``n`` units of its steps."""
    return part_of(lesson, kept=lesson.without(n, unit=removal.unit, removed_from=removal.from_))


class StepFinder:
    """Finds the steps and the answer in the tokens of a text.

    Args:
        target: of the spec.
    """

    def __init__(self, model: HostedModel, *, target: Target) -> None:
        self._tokenizer = model.tokenizer
        self._find: FindAnswer | None = None if target.answer is None else answer_finder(target.answer)

    def segments(self, example: Example, *, target_ids: Sequence[int]) -> tuple[tuple[int, ...], int] | None:
        """The step of each target token, and the number of steps; None if the text does not have its answer.

        A token that lies in two steps belongs to the later one. The end of text belongs to the answer.
        """
        text = example.target or ""
        answer = self._find(text) if self._find is not None else _answer_of(example)
        chain = None if answer is None else chain_of(text, answer=answer)
        if chain is None:
            return None
        ends = self._ends(text, target_ids)
        starts = (*chain.steps[1:], chain.answer)
        n_steps = len(chain.steps)
        if not n_steps:
            return (0,) * len(target_ids), 0
        found = [sum(end > start for start in starts) for end in ends]
        found += [n_steps] * (len(target_ids) - len(found))
        return tuple(found), n_steps

    def _ends(self, text: str, target_ids: Sequence[int]) -> list[int]:
        """For each token of the text, the character of the text where it ends."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        if list(target_ids[: len(ids)]) == list(ids):
            return _ascending(end for _, end in encoded["offset_mapping"])
        # Sampled tokens may differ from the tokenization of their text.
        decode: Callable[..., str] = self._tokenizer.decode
        return _ascending(
            min(len(text), len(decode(list(target_ids[: i + 1]), skip_special_tokens=True)))
            for i in range(len(target_ids) - 1)
        )


def _ascending(ends: Iterable[int]) -> list[int]:
    """Each end, or the largest before it: offsets of special tokens are 0."""
    found, last = [], 0
    for end in ends:
        last = max(last, end)
        found.append(last)
    return found


def _answer_of(example: Example) -> str | None:
    record: Mapping[str, Any] = example.record
    given = record.get("answer")
    if isinstance(given, str) and given:
        return given
    return example.answers[0] if example.answers else None
