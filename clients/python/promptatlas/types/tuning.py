"""Specs of the runs that tune and evaluate prompts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from promptatlas.types.answers import AnswerRule
from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.forms import Method, SoftMethod
from promptatlas.types.posteriors import PosteriorMethod
from promptatlas.types.priors import Prior
from promptatlas.types.references import Name, Reference
from promptatlas.types.wire import RequestBody

Metric = Literal["exact_match", "f1", "precision", "recall", "accuracy", "numeric_match", "loss", "perplexity"]
Schedule = Literal["linear", "cosine", "constant"]

Rate = Annotated[float, Field(gt=0, le=100)]


class Optimizer(RequestBody):
    """AdamW and its schedule. lr: one learning rate, or several that are tuned together.

    batch_size: examples per step. accumulate: number of forwards that a batch is split into. warmup: share of the steps in
    which the learning rate rises from 0. clip: highest gradient norm of a member; None disables clipping.
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
    """Penalty −weight·log p(prompt) under the prior, per value of the prompt, that is added to the loss (MAP)."""

    weight: float = Field(default=0.0, ge=0)


class EarlyStopping(RequestBody):
    """Stop a member whose validation loss has not fallen by ``min_delta`` nats in ``patience`` evaluations."""

    patience: int = Field(default=5, ge=1, le=10_000)
    min_delta: float = Field(default=0.0, ge=0)


class AnswerSampling(RequestBody):
    """Sampled answers of each example, in addition to the greedy one, for the metrics ``pass@k`` and ``majority@k``.

    n: number of samples. k: sizes of the subsets that the metrics are of, each at most ``n``; None: the powers of two up to
    ``n``, and ``n``. answer: where the answer of a sample is. metric: what it is correct by; default: numeric_match for
    ``last_number``, otherwise exact_match.
    """

    n: int = Field(default=8, ge=2, le=128)
    k: list[Annotated[int, Field(ge=1, le=128)]] | None = Field(default=None, min_length=1, max_length=16)
    temperature: float = Field(default=1.0, gt=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, le=2**31 - 1)
    answer: AnswerRule = "whole"
    metric: Metric | None = None


class Eval(RequestBody):
    """When and how members are evaluated.

    every: steps between validation losses. metrics: computed before and after tuning, on each of ``splits``.
    n: number of examples per split; None: all. max_tokens: limit of generated tokens; None: length of the longest target.
    samples: bootstrap samples for intervals. sampling: sampled answers of each example; None: greedy answers only.
    """

    every: int = Field(default=50, ge=1, le=10_000_000)
    metrics: list[Metric] = Field(default=["exact_match", "f1", "loss"], min_length=1, max_length=16)
    splits: list[Split] = Field(default=["test"], min_length=1, max_length=3)
    n: int | None = Field(default=200, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, le=65_536)
    samples: int = Field(default=1000, ge=100, le=100_000)
    sampling: AnswerSampling | None = None


class TuneSpec(RequestBody):
    """Spec of a ``tune`` run. The members priors × seeds × rates train together, and each is stored as a prompt version.

    name: name of the prompts, ``{name}-{prior}-{seed}`` if there are several; None: ``tuned-{run id}``.
    data_seed: seed of the order of the examples.
    checkpoint_every: steps between checkpoints. snapshots: number of copies of the vectors during training. keep: the last
    vectors, or those with the lowest validation loss.
    posterior: store one posterior instead of a prompt for each member. With SVGD, SGLD and Laplace, the prior acts as a density.
    """

    run_kind: ClassVar[str] = "tune"

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
    posterior: PosteriorMethod | None = None
    keep: Literal["last", "best"] = "best"
    template: Template | None = None
    data_seed: int = Field(default=0, ge=0, le=2**63 - 1)
    checkpoint_every: int = Field(default=50, ge=1, le=10_000_000)
    snapshots: int = Field(default=20, ge=0, le=10_000)
    gradient_checkpointing: bool = False


class EvaluateSpec(RequestBody):
    """Spec of an ``evaluate`` run. A prompt that is null means the bare model.

    samples: bootstrap samples for intervals. sampling: sampled answers of each example; None: greedy answers only.
    """

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
    sampling: AnswerSampling | None = None
