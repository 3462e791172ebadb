"""Specs of the runs that tune and evaluate prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.forms import Method, SoftMethod
from promptatlas.types.priors import Prior
from promptatlas.types.references import Name, Reference
from promptatlas.types.wire import RequestBody

Metric = Literal["exact_match", "f1", "precision", "recall", "accuracy", "numeric_match", "loss", "perplexity"]
Schedule = Literal["linear", "cosine", "constant"]

Rate = Annotated[float, Field(gt=0, le=100)]


class Optimizer(RequestBody):
    """AdamW and its schedule. lr: one, or several that are tuned side by side.

    batch_size: examples a step. accumulate: forwards a step that the batch is cut into. warmup: share of the steps in
    which the rate rises from 0. clip: largest norm of a member's gradient; None: as it comes.
    """

    lr: Rate | list[Rate] = 1e-3
    steps: int = Field(default=1000, ge=1, le=10_000_000)
    batch_size: int = Field(default=16, ge=1, le=65_536)
    accumulate: int = Field(default=1, ge=1, le=65_536)
    schedule: Schedule = "linear"
    warmup: float = Field(default=0.0, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), strict=False
    )
    eps: float = Field(default=1e-8, gt=0, le=1)
    clip: float | None = Field(default=1.0, gt=0)


class Regularize(RequestBody):
    """−weight·log p(prompt) under its prior, per value, is added to the loss: the prior acts all along (MAP)."""

    weight: float = Field(default=0.0, ge=0)


class EarlyStopping(RequestBody):
    """Stop a member whose validation loss has not fallen by ``min_delta`` nats in ``patience`` evaluations."""

    patience: int = Field(default=5, ge=1, le=10_000)
    min_delta: float = Field(default=0.0, ge=0)


class Eval(RequestBody):
    """When and how members are measured.

    every: steps between validation losses. metrics: measured at the end, before and after, on each of ``splits``.
    n: examples of a split that are asked, None: all. max_tokens: generated for an answer; None: as the longest target.
    samples: of the bootstrap for intervals.
    """

    every: int = Field(default=50, ge=1, le=10_000_000)
    metrics: list[Metric] = Field(default=["exact_match", "f1", "loss"], min_length=1, max_length=16)
    splits: list[Split] = Field(default=["test"], min_length=1, max_length=3)
    n: int | None = Field(default=200, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, le=65_536)
    samples: int = Field(default=1000, ge=100, le=100_000)


class TuneSpec(RequestBody):
    """Spec of a ``tune`` run: the product priors × seeds × rates trains together; each member becomes a prompt version.

    name: of the prompts, ``{name}-{prior}-{seed}`` where there are several; None: ``tuned-{run id}``.
    data_seed: order of the examples.
    checkpoint_every: steps. snapshots: copies of the vectors along the way. keep: the last vectors, or those with the
    lowest validation loss.
    """

    model: str = Field(min_length=1, max_length=200)
    dataset: DatasetRef
    name: Name | None = None
    method: Method = Field(default_factory=SoftMethod)
    priors: list[Prior] = Field(min_length=1, max_length=64)
    seeds: list[Annotated[int, Field(ge=0, le=2**63 - 1)]] = Field(default=[0], min_length=1, max_length=1024)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    regularize: Regularize = Field(default_factory=Regularize)
    eval: Eval = Field(default_factory=Eval)
    early_stopping: EarlyStopping | None = None
    keep: Literal["last", "best"] = "best"
    template: Template | None = None
    data_seed: int = Field(default=0, ge=0, le=2**63 - 1)
    checkpoint_every: int = Field(default=50, ge=1, le=10_000_000)
    snapshots: int = Field(default=20, ge=0, le=10_000)
    gradient_checkpointing: bool = False


class EvaluateSpec(RequestBody):
    """Spec of an ``evaluate`` run; a prompt of null is the bare model."""

    model: str = Field(min_length=1, max_length=200)
    prompts: list[Reference | None] = Field(min_length=1, max_length=1024)
    dataset: DatasetRef
    split: Split = "test"
    metrics: list[Metric] = Field(default=["exact_match", "f1", "loss"], min_length=1, max_length=16)
    n: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, le=65_536)
    samples: int = Field(default=1000, ge=100, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    template: Template | None = None
