"""Reports of training steps, and outcomes of members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from service.engine.shapes import Tensor

Status = Literal["running", "finished", "stopped", "diverged"]


@dataclass(frozen=True, kw_only=True)
class MemberReport:
    """One member after a step.

    Attributes:
        status: ``stopped`` early, by its validation loss; ``diverged``: abandoned after repeated failures.
        loss: mean nats per answer token of the batch, before the update; None if the member had ended before.
        lr: learning rate of the update.
        grad_norm: gradient norm before clipping.
        validation_loss: mean nats per answer token after the update; None if it was not due.
        note: a message to the owner of the run about an unusual event, such as a rollback.
    """

    name: str
    status: Status
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    validation_loss: float | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Reports of all members, in order, after update ``step``, which counts from 1.

    n_tokens: of the step's examples, once for each member that was updated.
    """

    step: int
    members: tuple[MemberReport, ...]
    n_tokens: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"{member.name}: {member.note}" for member in self.members if member.note is not None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a member.

    Attributes:
        step: the step after which the member had ``tensors``.
        validation_loss: that of ``tensors``, if it was measured.
        tensors: the kept vectors, float32 on the CPU.
    """

    name: str
    status: Status
    step: int
    validation_loss: float | None
    tensors: Mapping[str, Tensor]
