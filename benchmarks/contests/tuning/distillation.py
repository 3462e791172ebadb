"""Distillation of several soft prompts on a teacher's top tokens, against plain transformers with full logits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.contests.tuning.vocabulary import GROWTH, PEAK
from benchmarks.measuring.contest import Contest, Goal, Metrics, Side, amount, quotient, speedup
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.distillation import FusedDistillation, distil_plainly, top_tokens
from benchmarks.sides.models import SHARP, LlamaSize, build_llama
from benchmarks.sides.training_process import Measured, Training, TrainingProcess
from benchmarks.sides.tuning import TuningTask, random_examples
from benchmarks.sides.workload import random_texts, soft_prompts
from service.engine.model.hosted_model import HostedModel

ENGINE, PLAIN = "engine", "transformers"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Prompts, examples and the teacher's context. max_bytes: memory limit of the engine's forward."""

    model: LlamaSize
    n_prompts: int = 8
    n_virtual: int = 20
    n_examples: int = 160
    shortest: int = 24
    longest: int = 96
    n_answers: int = 32
    n_context: int = 64
    k: int = 32
    n_steps: int = 20
    max_bytes: int = 512 << 20

    def task(self) -> TuningTask:
        draws = soft_prompts(self.n_prompts, n_virtual=self.n_virtual, d_model=self.model.d_model, seed=5)
        examples = random_examples(
            self.n_examples,
            shortest=self.shortest,
            longest=self.longest,
            n_answers=self.n_answers,
            n_vocab=self.model.n_vocab,
        )
        return TuningTask(examples=examples, starts=[{"soft": draw} for draw in draws], n_steps=self.n_steps)

    def context(self) -> tuple[int, ...]:
        """What the teacher reads in front of each example."""
        (text,) = random_texts(1, shortest=self.n_context, longest=self.n_context, n_vocab=self.model.n_vocab, seed=13)
        return text


FULL = Size(model=LlamaSize(d_model=256, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=32_000))
QUICK = Size(
    model=LlamaSize(d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=8_000),
    n_prompts=4,
    n_examples=32,
    n_steps=3,
    max_bytes=64 << 20,
)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides, each in a separate process; ``http`` has no effect."""
    n_threads = torch.get_num_threads()
    with (
        TrainingProcess(partial(prepare_engine, size), n_threads=n_threads) as engine,
        TrainingProcess(partial(prepare_plain, size), n_threads=n_threads) as plain,
    ):
        yield Contest(
            name="tuning-distillation",
            work=(
                f"{size.n_prompts} soft prompts of {size.n_virtual} vectors learn the {size.k} top tokens and the rest, "
                f"{size.n_steps} steps of 8 examples, inputs of {size.shortest} to {size.longest} tokens, targets of 1 to "
                f"{size.n_answers}; {size.model}."
            ),
            sides=[
                Side(name=ENGINE, run=engine.run, metrics=_memory),
                Side(name=PLAIN, run=plain.run, metrics=_memory),
            ],
            goals=_goals(),
            compare=lambda answers: tuned_alike(
                "engine against transformers", answers[ENGINE].tuned, answers[PLAIN].tuned
            ),
            notes=[
                f"The teacher, the bare model with {size.n_context} tokens in front, has read every example before the "
                "measurement, on both sides.",
                f"The engine is limited to {size.max_bytes >> 20} MiB per forward and keeps no second copies of weights.",
            ],
        )


def prepare_engine(size: Size) -> Training:
    """In the child process: the hosted model, what the teacher gives, and the training."""
    hosted = HostedModel("benchmark", build_llama(size.model, sharpness=SHARP), None, revision="random", packed_bytes=0)
    return FusedDistillation(hosted, size.task(), context=size.context(), k=size.k, max_bytes=size.max_bytes).run


def prepare_plain(size: Size) -> Training:
    """In the child process: the bare model, what the teacher gives, and the training."""
    bare, task = build_llama(size.model, sharpness=SHARP), size.task()
    bare.requires_grad_(False)
    targets = top_tokens(bare, task, context=size.context(), k=size.k)
    return lambda: distil_plainly(bare, task, targets=targets)


def _memory(measured: Measured) -> Metrics:
    return {PEAK: measured.peak_bytes / 1e6, GROWTH: (measured.peak_bytes - measured.loaded_bytes) / 1e6}


def _goals() -> list[Goal]:
    return [
        speedup(ENGINE, PLAIN, at_least=2.5),
        quotient(PEAK, ENGINE, PLAIN, label="peak memory engine : transformers", at_most=0.5),
        quotient(GROWTH, ENGINE, PLAIN, label="memory above the loaded model, engine : transformers"),
        amount(PEAK, ENGINE, label="peak memory of the engine", unit="MB"),
    ]
