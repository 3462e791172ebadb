"""Settings of the trainer, and its members."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from promptatlas.types.forms import Where

from service.engine.prompts.prompt import Kind
from service.engine.shapes import Tensor
from workers.tuning.samplers.langevin import Preconditioner

Schedule = Literal["linear", "cosine", "constant"]
Keep = Literal["last", "best"]

LogProb = Callable[[Mapping[str, Tensor]], Tensor]
"""Maps tensors in the native format to their log density in nats, a differentiable scalar."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the prompts that are tuned together.

    Attributes:
        name: name in reports.
        lr: highest learning rate.
        start: initial tensors in the native format, float32.
        prior_log_prob: log density of the penalty; None disables the penalty.
        seed: seed of the MLP of a reparametrised prefix.
    """

    name: str
    lr: float
    start: Mapping[str, Tensor]
    prior_log_prob: LogProb | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PosteriorSettings:
    """Settings of members that are samples of, or a mode of, p(prompt | data)^(1/T) under a prior with a density.

    Attributes:
        n_observations: N, the answer tokens of the training examples. The loss is a mean over them, so that
            −log p(prompt | data) / N is the loss minus log p(prompt) / N.
        temperature: T.
        burn_in, thin: of SGLD: steps before the first sample, and steps between samples.
        preconditioner: of SGLD; None: there is none.
    """

    method: Literal["svgd", "sgld", "laplace"]
    n_observations: int
    temperature: float = 1.0
    burn_in: int = 0
    thin: int = 1
    preconditioner: Preconditioner | None = None

    @property
    def noise(self) -> float:
        """T / N."""
        return self.temperature / self.n_observations


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """Settings that all members share.

    Attributes:
        kind, where: kind of the prompts, as in the native format.
        d_reparametrised: width of the MLP that computes a prefix; None trains keys and values directly.
        n_frozen: number of first virtual positions that are not trained.
        steps, batch_size, accumulate: number of updates; examples per update; forwards per update.
        schedule, warmup: schedule of the learning rate, and the share of the steps in which it rises from 0.
        weight_decay, betas, eps: hyperparameters of AdamW.
        clip: highest gradient norm of a member; None disables clipping.
        regularize_weight: weight w of the penalty −w·log p(prompt), per value of the prompt.
        gradient_checkpointing: recompute each block in the backward pass, instead of keeping its intermediate values.
        eval_every: steps between validation losses.
        patience, min_delta: a member stops if its validation loss does not fall by ``min_delta`` nats in ``patience``
            evaluations; None disables early stopping.
        keep: which vectors are the result: the last ones, or those with the lowest validation loss.
        data_seed: seed of the order of the examples, which all members share.
        snapshots: number of evenly spaced copies of the vectors, including those after the last step.
        posterior: None for members that are tuned independently, with the penalty.
    """

    kind: Kind
    where: Where | None = None
    d_reparametrised: int | None = None
    n_frozen: int = 0
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
    posterior: PosteriorSettings | None = None

    @property
    def snapshot_steps(self) -> frozenset[int]:
        """Steps after which the vectors are copied."""
        spaced = {max(1, round(i * self.steps / self.snapshots)) for i in range(1, self.snapshots + 1)}
        return frozenset({*spaced, *self.sample_steps})

    @property
    def sample_steps(self) -> tuple[int, ...]:
        """Steps after which the vectors of an SGLD chain are samples, ascending; empty for other methods."""
        posterior = self.posterior
        if posterior is None or posterior.method != "sgld":
            return ()
        return tuple(range(posterior.burn_in + posterior.thin, self.steps + 1, posterior.thin))
