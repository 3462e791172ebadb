"""Soft prompts for SQuAD, whose contexts are long: time and peak memory against PEFT one prompt after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from benchmarks.contests.smollm2.data import squad
from benchmarks.contests.smollm2.model import LABEL, load_exact, load_hosted, load_plain, vocabulary_prompts
from benchmarks.measuring.contest import Agreement, Contest, Goal, Metrics, Side, amount, quotient, speedup
from benchmarks.measuring.rounding import tuned_within_rounding
from benchmarks.sides.training_process import Measured, Training, TrainingProcess
from benchmarks.sides.tuning import TuningTask, tune_fused, tune_with_peft

ENGINE, PEFT = "engine", "PEFT"
PEAK, GROWTH = "peak MB", "MB above the loaded model"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Members and rows of a step. max_bytes: memory limit of the engine's forward."""

    n_prompts: int = 8
    n_virtual: int = 20
    batch_size: int = 8
    n_steps: int = 2
    n_reference: int = 4
    longest_context: int = 256
    max_bytes: int = 1 << 30

    def task(self, module: Any) -> TuningTask:
        starts = vocabulary_prompts(module, self.n_prompts, n_virtual=self.n_virtual, seed=5)
        return TuningTask(
            examples=squad(self.n_steps * self.batch_size, longest_context=self.longest_context),
            starts=[{"soft": start} for start in starts],
            n_steps=self.n_steps,
            batch_size=self.batch_size,
        )


FULL = Size()
QUICK = replace(FULL, n_prompts=4, batch_size=2)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides, each in a separate process; ``http`` has no effect."""
    n_threads = torch.get_num_threads()
    # Whether model and data are there is found out before a process starts.
    task = size.task(load_plain())
    few = replace(task, starts=task.starts[: size.n_reference])

    def compare(answers: Mapping[str, Measured]) -> list[Agreement]:
        tuned = {name: measured.tuned for name, measured in answers.items()}
        return tuned_within_rounding(tuned, plain=PEFT, exact=tune_with_peft(load_exact(), few), starts=few.starts)

    with (
        TrainingProcess(partial(prepare_engine, size), n_threads=n_threads) as engine,
        TrainingProcess(partial(prepare_peft, size), n_threads=n_threads) as peft,
    ):
        yield Contest(
            name="smollm2-tune-squad",
            work=(
                f"{size.n_prompts} soft prompts of {size.n_virtual} vectors, {size.n_steps} steps of {size.batch_size} questions "
                f"of SQuAD with contexts of up to {size.longest_context} tokens; {LABEL}."
            ),
            sides=[
                Side(name=ENGINE, run=engine.run, metrics=_memory),
                Side(name=PEFT, run=peft.run, metrics=_memory),
            ],
            goals=_goals(),
            compare=compare,
            notes=[
                "Memory is that of each side's process, with torch and the model in it. A forward of the engine is limited to "
                f"{size.max_bytes >> 20} MiB."
            ],
        )


def prepare_engine(size: Size) -> Training:
    """In the child process: the hosted model and its training."""
    task = size.task(load_plain())
    hosted = load_hosted()
    return lambda: tune_fused(hosted, task, max_bytes=size.max_bytes)


def prepare_peft(size: Size) -> Training:
    """In the child process: the bare model and PEFT's training."""
    bare = load_plain()
    task = size.task(bare)
    return lambda: tune_with_peft(bare, task)


def _memory(measured: Measured) -> Metrics:
    return {PEAK: measured.peak_bytes / 1e6, GROWTH: (measured.peak_bytes - measured.loaded_bytes) / 1e6}


def _goals() -> list[Goal]:
    return [
        speedup(ENGINE, PEFT, at_least=3.0),
        quotient(PEAK, ENGINE, PEFT, label="peak memory engine : PEFT", at_most=0.6),
        quotient(GROWTH, ENGINE, PEFT, label="memory above the loaded model, engine : PEFT"),
        amount(PEAK, ENGINE, label="peak memory of the engine", unit="MB"),
    ]
