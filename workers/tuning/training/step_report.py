"""What a trainer says of each step."""

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
        status: stopped: early, by its validation loss; diverged: given up after repeated failures.
        loss: mean nats an answer token of the batch, before the update; None: the member was over before.
        lr: the rate of the update. grad_norm: before clipping.
        validation_loss: mean nats an answer token after the update; None: not due.
        note: what happened out of the ordinary, such as a roll-back; a sentence for the run's owner.
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
    """All members after update number ``step`` (the first is 1), in their order."""

    step: int
    members: tuple[MemberReport, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"{member.name}: {member.note}" for member in self.members if member.note is not None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a member: the vectors kept, float32 on the CPU, of which step, and their validation loss if measured."""

    name: str
    status: Status
    step: int
    validation_loss: float | None
    tensors: Mapping[str, Tensor]
