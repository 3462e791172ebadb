"""On-policy distillation: students learn from their own samples, which the teacher scores (arXiv 2306.13649)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits, Sampling
from service.engine.shapes import Tensor
from workers.evaluation.generation import GenerationInput, TextGenerator
from workers.inputs.examples import EncodedExample
from workers.tuning.distillation.lessons import LearnedExample, Lesson, whole

PromptOf = Callable[[Mapping[str, Tensor]], Prompt]


class StudentSampler:
    """Samples targets from the members, all in one batch, at temperature 1.

    A sample depends on the member's prompt, the seed, the step and the lesson only.

    Args:
        lessons: the training lessons.
        share: of a batch whose targets are sampled.
        max_tokens: limit of a sample.
        n_teacher_positions: positions of the teacher, which reads the samples as well.
        seed: of the samples.
        prompt_of: a prompt of the run's kind from tensors.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        lessons: Sequence[Lesson],
        share: float,
        max_tokens: int,
        n_teacher_positions: int,
        seed: int,
        prompt_of: PromptOf,
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        self._model = model
        self._lessons = lessons
        self._share = share
        self._max_tokens = max_tokens
        self._n_teacher_positions = n_teacher_positions
        self._seed = seed
        self._prompt_of = prompt_of
        self._limits = limits
        self._check = check

    def n_sampled(self, n_examples: int) -> int:
        """Number of examples of a batch whose targets are sampled."""
        return round(self._share * n_examples)

    def examples(
        self, members: Sequence[Mapping[str, Tensor]], indices: Sequence[int], *, step: int
    ) -> list[list[EncodedExample]]:
        """For each member, the lessons with these indices with targets that it has sampled."""
        prompts = {str(i): self._prompt_of(tensors) for i, tensors in enumerate(members)}
        # A new engine for each step: samples do not depend on what its cache held before.
        generator = TextGenerator(self._model, prompts=prompts, limits=self._limits, check=self._check)
        pairs = [(label, index) for label in prompts for index in indices]
        inputs = [self._input(label, index, n_virtual=prompts[label].n_virtual, step=step) for label, index in pairs]
        outputs = generator.generate(inputs)
        found = [_sampled(self._lessons[i], output.token_ids) for (_, i), output in zip(pairs, outputs, strict=True)]
        n = len(indices)
        return [list(found[i * n : (i + 1) * n]) for i in range(len(members))]

    def _input(self, label: str, index: int, *, n_virtual: int, step: int) -> GenerationInput:
        lesson = self._lessons[index]
        n_left = self._model.n_positions - n_virtual - len(lesson.input_ids)
        n_left = min(n_left, self._n_teacher_positions - len(lesson.teacher_ids), self._max_tokens)
        digest = hashlib.blake2b(f"on-policy/{self._seed}/{step}/{index}".encode(), digest_size=6).digest()
        sampling = Sampling(temperature=1.0, seed=int.from_bytes(digest, "big"))
        return GenerationInput(label=label, ids=lesson.input_ids, max_tokens=max(1, n_left), sampling=sampling)


def _sampled(lesson: Lesson, token_ids: tuple[int, ...]) -> LearnedExample:
    return whole(replace(lesson, target_ids=token_ids, segments=None, n_steps=0, is_sampled=True))
