"""Division of a run's members into parts. It follows from spec, model and data, never from the workers at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from promptatlas.types.tuning import TuneSpec

from service.engine.model.hosted_model import HostedModel
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import cut

CPU_TOKENS, DEVICE_TOKENS = 1200, 16_384
"""Tokens of a forward of a part, at least. On a CPU, larger forwards are not faster (``workers.tuning.training.memory``). The
number for accelerators is not measured."""

PART_FLOP = 1e13
"""Work of a part, at least: half a minute at the measured rate of SmolLM2-135M (docs/scale.md), several times the start of a
helper."""

FLOP_PER_WEIGHT = 4
"""Of a forward and of the gradients with respect to its inputs, for each weight and token."""


@dataclass(frozen=True, kw_only=True)
class MemberWork:
    """Training of one member. n_tokens: of one forward, on average. flop: of all steps."""

    n_tokens: float
    flop: float


def work_of_member(spec: TuneSpec, *, model: HostedModel, train: Sequence[EncodedExample]) -> MemberWork:
    """The work of a member on these examples, which must not be empty."""
    optimizer = spec.optimizer
    n_text = optimizer.batch_size * sum(example.length for example in train) / len(train)
    n_forwards = min(optimizer.accumulate, optimizer.batch_size)
    n_weights = sum(parameter.numel() for parameter in model.module.parameters())
    n_tokens = n_text + n_forwards * spec.method.n_positions
    return MemberWork(n_tokens=n_tokens / n_forwards, flop=FLOP_PER_WEIGHT * n_weights * n_tokens * optimizer.steps)


def divide(n_members: int, *, work: MemberWork, device_type: str) -> tuple[tuple[int, ...], ...]:
    """The members of each part, by index. A part fills an efficient forward and has at least :data:`PART_FLOP`."""
    n_least_tokens = CPU_TOKENS if device_type == "cpu" else DEVICE_TOKENS
    n_each = max(1, math.ceil(n_least_tokens / work.n_tokens), math.ceil(PART_FLOP / work.flop))
    return tuple(tuple(part) for part in cut(range(n_members), parts=max(1, n_members // n_each)))
