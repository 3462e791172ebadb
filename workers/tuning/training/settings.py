"""What is tuned, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from promptatlas.types.forms import Where

from service.engine.prompts.prompt import Kind
from service.engine.shapes import Tensor

Schedule = Literal["linear", "cosine", "constant"]
Keep = Literal["last", "best"]

LogProb = Callable[[Mapping[str, Tensor]], Tensor]
"""Tensors in the native format → log density in nats, a scalar, differentiable."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One prompt among those that are tuned side by side.

    Attributes:
        name: of the member, in reports.
        lr: its highest rate.
        start: its draw, tensors in the native format, float32.
        prior_log_prob: of its prior, for the penalty; None: there is none.
        seed: of what the trainer itself must draw, which is the MLP of a reparametrised prefix.
    """

    name: str
    lr: float
    start: Mapping[str, Tensor]
    prior_log_prob: LogProb | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What all members share.

    Attributes:
        kind, where: of the prompts, as in the native format.
        d_reparametrised: width of the MLP that a prefix is trained through; None: its keys and values themselves.
        steps, batch_size, accumulate: updates; examples of each; forwards that each is cut into.
        schedule, warmup: of the rate; ``warmup`` is the share of the steps in which it rises from 0.
        weight_decay, betas, eps: of AdamW.
        clip: largest norm of a member's gradient; None: as it comes.
        regularize_weight: w of the penalty −w·log p(prompt), per value of the prompt.
        gradient_checkpointing: run each block again on the way back, instead of keeping what it made.
        eval_every: steps between validation losses.
        patience, min_delta: a member stops when its validation loss has not fallen by ``min_delta`` nats in ``patience``
            evaluations; None: it never does.
        keep: which vectors are the result: the last, or those of the lowest validation loss.
        data_seed: of the examples' order, which all members share.
        snapshots: copies of the vectors along the way, evenly spaced, the last step's included.
    """

    kind: Kind
    where: Where | None = None
    d_reparametrised: int | None = None
    steps: int = 1000
    batch_size: int = 16
    accumulate: int = 1
    schedule: Schedule = "linear"
    warmup: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float | None = 1.0
    regularize_weight: float = 0.0
    gradient_checkpointing: bool = False
    eval_every: int = 50
    patience: int | None = None
    min_delta: float = 0.0
    keep: Keep = "best"
    data_seed: int = 0
    snapshots: int = 0

    @property
    def snapshot_steps(self) -> frozenset[int]:
        """Steps after which the vectors are copied."""
        return frozenset(max(1, round(i * self.steps / self.snapshots)) for i in range(1, self.snapshots + 1))
