"""A large vocabulary and short answers: logits only at answer positions, against logits at every position."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.measuring.contest import Contest, Goal, Metrics, Side, amount, quotient, speedup
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.models import LlamaSize, build_llama
from benchmarks.sides.training_process import Measured, Training, TrainingProcess
from benchmarks.sides.tuning import TuningTask, random_examples, tune_fused, tune_with_peft
from benchmarks.sides.workload import soft_prompts
from service.engine.model.hosted_model import HostedModel

ENGINE, PEFT = "engine", "PEFT"
PEAK, GROWTH = "peak MB", "MB above the loaded model"


@dataclass(frozen=True, kw_only=True)
class Size:
    """One soft prompt. max_bytes: memory limit of the engine's forward."""

    model: LlamaSize
    n_examples: int = 80
    n_input: int = 128
    n_steps: int = 10
    max_bytes: int = 512 << 20

    def task(self) -> TuningTask:
        (draw,) = soft_prompts(1, n_virtual=20, d_model=self.model.d_model, seed=5)
        examples = random_examples(
            self.n_examples, shortest=self.n_input, longest=self.n_input, n_answers=8, n_vocab=self.model.n_vocab
        )
        return TuningTask(examples=examples, starts=[{"soft": draw}], n_steps=self.n_steps)


FULL = Size(model=LlamaSize(d_model=768, n_layers=12, n_heads=12, n_kv_heads=6, d_mlp=2112, n_vocab=32_000))
QUICK = Size(
    model=LlamaSize(d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=8_000),
    n_steps=3,
    max_bytes=64 << 20,
)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides, each in a separate process; ``http`` has no effect."""
    n_threads = torch.get_num_threads()
    with (
        TrainingProcess(partial(prepare_engine, size), n_threads=n_threads) as engine,
        TrainingProcess(partial(prepare_peft, size), n_threads=n_threads) as peft,
    ):
        yield Contest(
            name="tuning-vocabulary",
            work=(
                f"One soft prompt of 20 vectors, {size.n_steps} steps of 8 examples, inputs of {size.n_input} tokens, "
                f"answers of 1 to 8; {size.model}."
            ),
            sides=[
                Side(name=ENGINE, run=engine.run, metrics=_memory),
                Side(name=PEFT, run=peft.run, metrics=_memory),
            ],
            goals=_goals(),
            compare=lambda answers: tuned_alike("engine against PEFT", answers[ENGINE].tuned, answers[PEFT].tuned),
            notes=[
                "Memory is that of each side's process, with torch and the model in it. The engine keeps no second copies of "
                f"weights here, and is limited to {size.max_bytes >> 20} MiB per forward."
            ],
        )


def prepare_engine(size: Size) -> Training:
    """In the child process: the hosted model and its training."""
    hosted = HostedModel("benchmark", build_llama(size.model), None, revision="random", packed_bytes=0)
    task = size.task()
    return lambda: tune_fused(hosted, task, max_bytes=size.max_bytes)


def prepare_peft(size: Size) -> Training:
    """In the child process: the bare model and PEFT's training."""
    bare, task = build_llama(size.model), size.task()
    return lambda: tune_with_peft(bare, task)


def _memory(measured: Measured) -> Metrics:
    return {PEAK: measured.peak_bytes / 1e6, GROWTH: (measured.peak_bytes - measured.loaded_bytes) / 1e6}


def _goals() -> list[Goal]:
    return [
        speedup(ENGINE, PEFT, at_least=1.5),
        quotient(PEAK, ENGINE, PEFT, label="peak memory engine : PEFT", at_most=0.6),
        quotient(GROWTH, ENGINE, PEFT, label="memory above the loaded model, engine : PEFT"),
        amount(PEAK, ENGINE, label="peak memory of the engine", unit="MB"),
    ]
