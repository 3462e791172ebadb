"""Interfaces of what is trained on: the loss of each answer token, and the examples of each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.engine.shapes import Float, Tensor
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.layout import Layout
from workers.tuning.training.cross_entropy import cross_entropy

States = Mapping[int, Float[Tensor, "answers d_model"]]
"""Outputs of blocks at the tokens that predict answer tokens, by layer."""


class Criterion(Protocol):
    """Loss of each answer token of a forward.

    Attributes:
        state_layers: layers whose states ``values`` takes.
    """

    @property
    def state_layers(self) -> frozenset[int]: ...

    def values(
        self, logits: Float[Tensor, "answers vocab"], *, layout: Layout, states: States
    ) -> Float[Tensor, " answers"]:
        """Losses in nats, float32, in the order of ``layout.targets``; differentiable in logits and states."""


class CrossEntropy:
    """−log p of each answer token."""

    state_layers: frozenset[int] = frozenset()

    def values(
        self, logits: Float[Tensor, "answers vocab"], *, layout: Layout, states: States
    ) -> Float[Tensor, " answers"]:
        return cross_entropy(logits, layout.targets.to(logits.device))


class Curriculum(Protocol):
    """Examples that change during training. A function of the step, so that a resumed training continues with the same ones."""

    def examples(self, indices: Sequence[int], *, step: int) -> list[EncodedExample]:
        """The training examples with these indices, as they are at update ``step`` (from 0)."""

    def resets_optimizer(self, step: int) -> bool:
        """Whether the state of the optimizers is reset before update ``step``."""


class Sampler(Protocol):
    """Examples that members generate themselves."""

    def n_sampled(self, n_examples: int) -> int:
        """How many of the first examples of a batch are replaced by samples."""

    def examples(
        self, members: Sequence[Mapping[str, Tensor]], indices: Sequence[int], *, step: int
    ) -> list[list[EncodedExample]]:
        """For each member, given its prompt's tensors, the training examples with these indices with sampled targets."""
