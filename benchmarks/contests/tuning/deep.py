"""Deep prompts at the top layers over several epochs: the trainer, which caches the layers below, against plain hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.measuring.contest import Contest, Side, speedup
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.deep_hooks import tune_with_hooks
from benchmarks.sides.models import LlamaSize, build_llama
from benchmarks.sides.tuning import TuningTask, random_examples, tune_fused
from service.engine.model.hosted_model import HostedModel


@dataclass(frozen=True, kw_only=True)
class Size:
    """One local deep prompt at the last ``n_tuned`` layers."""

    model: LlamaSize
    n_tuned: int = 3
    n_virtual: int = 20
    n_examples: int = 96
    n_epochs: int = 10
    shortest: int = 24
    longest: int = 96

    def task(self) -> TuningTask:
        generator = torch.Generator().manual_seed(5)
        layers = range(self.model.n_layers - self.n_tuned, self.model.n_layers)
        start = {
            f"deep.{i}": 0.1 * torch.randn(self.n_virtual, self.model.d_model, generator=generator) for i in layers
        }
        examples = random_examples(
            self.n_examples, shortest=self.shortest, longest=self.longest, n_answers=8, n_vocab=self.model.n_vocab
        )
        n_steps = self.n_epochs * self.n_examples // 8
        return TuningTask(examples=examples, starts=[start], n_steps=n_steps, kind="deep", where="local")


FULL = Size(model=LlamaSize(d_model=256, n_layers=12, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=1_024))
QUICK = Size(
    model=LlamaSize(d_model=128, n_layers=12, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=512),
    n_examples=16,
    n_epochs=4,
)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    task = size.task()
    hosted = HostedModel("benchmark", build_llama(size.model), None, revision="random")
    bare = build_llama(size.model)
    yield Contest(
        name="tuning-deep",
        work=(
            f"One deep prompt of {size.n_virtual} vectors at each of the last {size.n_tuned} layers, local, {size.n_epochs} "
            f"epochs of {size.n_examples} examples, 8 a step, inputs of {size.shortest} to {size.longest} tokens, answers "
            f"of 1 to 8; {size.model}."
        ),
        sides=[
            Side(name="engine", run=lambda: tune_fused(hosted, task)),
            Side(name="hooks", run=lambda: tune_with_hooks(bare, task)),
        ],
        goals=[speedup("engine", "hooks", at_least=2.2)],
        compare=lambda answers: tuned_alike("engine against hooks", answers["engine"], answers["hooks"]),
        notes=["Each run starts with an empty cache: the first epoch runs all layers."],
    )
