"""Stepwise internalisation: targets that lose their steps during training (Deng, Choi and Shieber, arXiv 2405.14838)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from promptatlas.types.distillation import Removal

from workers.inputs.examples import EncodedExample
from workers.tuning.distillation.lessons import LearnedExample, Lesson, removed_part


class RemovalCurriculum:
    """Removes s(t) = ⌊r · t · batch_size / n⌋ units of each chain before update t, for a removal of r units an epoch.

    With smoothing λ, an example of a step loses o more units, P(o) ∝ exp(−λ·o). The offsets depend on the seed and the step
    only, so all members see the same examples, and so does a resumed training.

    Args:
        lessons: the n training lessons.
        seed: of the offsets.
    """

    def __init__(self, lessons: Sequence[Lesson], *, removal: Removal, batch_size: int, seed: int) -> None:
        self._lessons = lessons
        self._removal = removal
        self._batch_size = batch_size
        self._seed = seed
        by_tokens = removal.unit == "tokens"
        self._longest = max((item.n_step_tokens if by_tokens else item.n_steps for item in lessons), default=0)
        # Examples that are equal in several steps are one object, so that states that are cached by object are found.
        self._parts: tuple[int, dict[tuple[int, int], LearnedExample]] = (0, {})

    def n_removed(self, step: int) -> int:
        """Units that are removed before update ``step`` (from 0), without smoothing."""
        return math.floor(self._removal.remove_per_epoch * step * self._batch_size / len(self._lessons))

    def resets_optimizer(self, step: int) -> bool:
        """Whether more is removed than before the last update. Once no steps are left, nothing more is."""
        if step == 0:
            return False
        before = min(self.n_removed(step - 1), self._longest)
        return min(self.n_removed(step), self._longest) > before

    def examples(self, indices: Sequence[int], *, step: int) -> list[EncodedExample]:
        """The lessons with these indices without the steps that are removed."""
        n = min(self.n_removed(step), self._longest)
        if self._parts[0] != n:
            self._parts = (n, {})
        offsets = self._offsets(len(indices), step=step)
        return [self._part(i, n + offset) for i, offset in zip(indices, offsets, strict=True)]

    def _part(self, index: int, n: int) -> LearnedExample:
        known = self._parts[1]
        key = (index, min(n, self._longest))
        if key not in known:
            known[key] = removed_part(self._lessons[index], removal=self._removal, n=key[1])
        return known[key]

    def _offsets(self, n: int, *, step: int) -> list[int]:
        smoothing = self._removal.smoothing
        if smoothing is None:
            return [0] * n
        digest = hashlib.sha256(f"removal/{self._seed}/{step}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        # The inverse of the distribution function of the geometric distribution. 1 − U is never 0.
        uniform = 1 - torch.rand(n, generator=generator, dtype=torch.float64)
        return [int(offset) for offset in (-uniform.log() / smoothing).floor().tolist()]
