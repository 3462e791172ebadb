"""Quality of prompts that are tuned in bfloat16, against the same prompts tuned in float32, at the end of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from benchmarks.contests.smollm2.data import arithmetic
from benchmarks.contests.smollm2.model import load_exact, load_hosted, model_folder, vocabulary_prompts
from benchmarks.contests.tuning.quality import losses_of, plain_loss, quality_goals
from benchmarks.measuring.contest import Agreement, Contest, Side
from benchmarks.sides.tuning import Tuned, TuningTask, tune_fused
from service.engine.model.hosted_model import HostedModel

BFLOAT16: Final = "bfloat16"
FLOAT32: Final = "float32"
BEGUN_TOLERANCE: Final = 0.1
"""Of the first step's losses, in nats: over four times the error that plain bfloat16 has against float32 on this task (0.022)."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Soft prompts from ``n_prompts`` draws of the vocabulary for arithmetic."""

    n_prompts: int = 6
    n_virtual: int = 20
    n_steps: int = 40
    batch_size: int = 4
    n_held_out: int = 100
    lr: float = 5e-3


FULL = Size()
QUICK = replace(FULL, n_prompts=2, n_steps=2, batch_size=2, n_held_out=8)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides are the trainer; ``http`` has no effect."""
    half = load_hosted()
    full = HostedModel.load("smollm2", str(model_folder()), device="cpu", dtype="float32")
    judge = load_exact()
    n_train = size.n_steps * size.batch_size
    examples = arithmetic(n_train + size.n_held_out)
    train, held_out = examples[:n_train], examples[n_train:]
    draws = vocabulary_prompts(judge, size.n_prompts, n_virtual=size.n_virtual, seed=5)
    task = TuningTask(
        examples=train,
        starts=[{"soft": draw} for draw in draws],
        n_steps=size.n_steps,
        batch_size=size.batch_size,
        lr=size.lr,
    )

    quality = partial(losses_of, judge, held_out)
    yield Contest(
        name="smollm2-tune-quality",
        work=(
            f"{size.n_prompts} soft prompts of {size.n_virtual} vectors for DeepMind's arithmetic, {size.n_steps} steps of "
            f"{size.batch_size} examples at rate {size.lr}, SmolLM2-135M-Instruct; loss on {size.n_held_out} held-out examples."
        ),
        sides=[
            Side(name=BFLOAT16, run=lambda: tune_fused(half, task), metrics=quality),
            Side(name=FLOAT32, run=lambda: tune_fused(full, task), metrics=quality),
        ],
        goals=quality_goals(BFLOAT16, FLOAT32, n_draws=size.n_prompts),
        compare=lambda answers: [begun_near(answers[BFLOAT16], answers[FLOAT32])],
        notes=[
            f"Both sides have the same bfloat16 weights. Losses are measured by plain transformers in float32; the first draw's "
            f"before tuning is {plain_loss(judge, draws[0], held_out):.3g} nats a token."
        ],
    )


def begun_near(half: Tuned, full: Tuned) -> Agreement:
    """The losses of the first step differ by rounding alone; later ones depend on all roundings before them."""
    apart = float((half.losses[0] - full.losses[0]).abs().max())
    detail = f"those of the first step are at most {apart:.1e} nats apart"
    return Agreement(label="bfloat16 against float32, losses", holds=apart <= BEGUN_TOLERANCE, detail=detail)
