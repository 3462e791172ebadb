"""Soft prompts for arithmetic: all in one trainer, and one alone, against PEFT one prompt after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.contests.smollm2.data import arithmetic
from benchmarks.contests.smollm2.model import LABEL, load_exact, load_hosted, load_plain, vocabulary_prompts
from benchmarks.measuring.contest import Contest, Side, speedup
from benchmarks.measuring.rounding import tuned_within_rounding
from benchmarks.sides.tuning import TuningTask, tune_fused, tune_with_peft

ENGINE, PEFT = "engine", "PEFT"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Prompts and steps. n_reference: prompts that are also tuned in float32, for a measure of bfloat16's errors."""

    name: str
    n_prompts: int
    n_steps: int
    n_virtual: int = 20
    batch_size: int = 16
    n_reference: int = 2
    engine_peft: float = 1.0

    def task(self, module: Any) -> TuningTask:
        """The task, with prompts drawn from the model's vocabulary."""
        starts = vocabulary_prompts(module, self.n_prompts, n_virtual=self.n_virtual, seed=5)
        return TuningTask(
            examples=arithmetic(self.n_steps * self.batch_size),
            starts=[{"soft": start} for start in starts],
            n_steps=self.n_steps,
            batch_size=self.batch_size,
        )


EIGHT = Size(name="smollm2-tune-8", n_prompts=8, n_steps=4, engine_peft=3.0)
EIGHT_QUICK = replace(EIGHT, n_prompts=3, batch_size=4)
ONE = Size(name="smollm2-tune-1", n_prompts=1, n_steps=12, engine_peft=1.6)
ONE_QUICK = replace(ONE, n_steps=8, batch_size=4)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    bare = load_plain()
    task = size.task(bare)
    hosted = load_hosted()
    few = replace(task, starts=task.starts[: size.n_reference])
    yield Contest(
        name=size.name,
        work=(
            f"{size.n_prompts} soft prompts of {size.n_virtual} vectors, {size.n_steps} steps of {size.batch_size} questions of "
            f"DeepMind's arithmetic; {LABEL}."
        ),
        sides=[
            Side(name=ENGINE, run=lambda: tune_fused(hosted, task)),
            Side(name=PEFT, run=lambda: tune_with_peft(bare, task)),
        ],
        goals=[speedup(ENGINE, PEFT, at_least=size.engine_peft)],
        compare=lambda answers: tuned_within_rounding(
            answers, plain=PEFT, exact=tune_with_peft(load_exact(), few), starts=few.starts
        ),
        notes=["PEFT keeps its vectors in float32 and casts them to bfloat16 in each forward, as the engine does."],
    )
