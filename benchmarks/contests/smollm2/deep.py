"""A deep prompt at the top layers over several epochs: the trainer, which caches the layers below, against plain hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.contests.smollm2.data import arithmetic
from benchmarks.contests.smollm2.model import LABEL, N_LAYERS, load_exact, load_hosted, load_plain
from benchmarks.measuring.contest import Contest, Side, speedup
from benchmarks.measuring.rounding import tuned_within_rounding
from benchmarks.sides.deep_hooks import tune_with_hooks
from benchmarks.sides.tuning import TuningTask, tune_fused

ENGINE, HOOKS, WHOLE = "engine", "hooks", "hooks, whole backward"


@dataclass(frozen=True, kw_only=True)
class Size:
    """One local deep prompt at the last ``n_tuned`` layers."""

    n_tuned: int = 3
    n_virtual: int = 20
    n_examples: int = 64
    batch_size: int = 16
    n_epochs: int = 5

    def task(self, module: Any) -> TuningTask:
        d_model = module.config.hidden_size
        generator = torch.Generator().manual_seed(5)
        layers = range(N_LAYERS - self.n_tuned, N_LAYERS)
        start = {f"deep.{i}": torch.randn(self.n_virtual, d_model, generator=generator) for i in layers}
        return TuningTask(
            examples=arithmetic(self.n_examples),
            starts=[start],
            n_steps=self.n_epochs * self.n_examples // self.batch_size,
            batch_size=self.batch_size,
            kind="deep",
            where="local",
        )


FULL = Size()
QUICK = replace(FULL, n_examples=16, batch_size=4, n_epochs=2)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides; ``http`` has no effect."""
    bare = load_plain()
    task = size.task(bare)
    hosted = load_hosted()
    yield Contest(
        name="smollm2-tune-deep",
        work=(
            f"One deep prompt of {size.n_virtual} vectors at each of the last {size.n_tuned} of {N_LAYERS} layers, local, "
            f"{size.n_epochs} epochs of {size.n_examples} questions of DeepMind's arithmetic, {size.batch_size} a step; {LABEL}."
        ),
        sides=[
            Side(name=ENGINE, run=lambda: tune_fused(hosted, task)),
            Side(name=HOOKS, run=lambda: tune_with_hooks(bare, task)),
            Side(name=WHOLE, run=lambda: tune_with_hooks(bare, task, whole_backward=True)),
        ],
        goals=[speedup(ENGINE, HOOKS, at_least=2.2), speedup(ENGINE, WHOLE, at_least=6.0)],
        compare=lambda answers: tuned_within_rounding(
            answers, plain=HOOKS, exact=tune_with_hooks(load_exact(), task), starts=task.starts
        ),
        notes=[
            "Each run starts with an empty cache: the first epoch runs all layers.",
            "The whole backward pass reaches the token embeddings, as in PEFT's prompt tuning.",
        ],
    )
