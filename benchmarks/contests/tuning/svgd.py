"""Particles of SVGD against as many independent members: the cost of kernels and of the prior's density."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.contests.tuning.soft import SMALL_LLAMA, TINY_LLAMA
from benchmarks.contests.tuning.soft import Size as SoftSize
from benchmarks.measuring.contest import SECONDS, Agreement, Contest, Goal, Side
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.models import build_llama
from benchmarks.sides.stein import tune_particles, tune_particles_plainly
from benchmarks.sides.tuning import Tuned, tune_fused, tune_with_peft
from service.engine.model.hosted_model import HostedModel

SVGD, INDEPENDENT = "SVGD", "independent members"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A fused training. std: standard deviation of the prior of SVGD."""

    tuning: SoftSize
    std: float = 0.1


FULL = Size(tuning=SoftSize(name="tuning-svgd", model=SMALL_LLAMA, n_prompts=16, n_steps=20))
QUICK = Size(tuning=replace(FULL.tuning, model=TINY_LLAMA, n_steps=4))


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    task, tuning = size.tuning.task(), size.tuning
    hosted = HostedModel("benchmark", build_llama(tuning.model), None, revision="random")

    def compare(answers: Mapping[str, Any]) -> list[Agreement]:
        bare = build_llama(tuning.model)
        plain: Tuned = tune_particles_plainly(bare, task, std=size.std)
        return [
            *tuned_alike(f"{SVGD} against plain transformers and NumPy", answers[SVGD], plain),
            *tuned_alike(f"{INDEPENDENT} against PEFT", answers[INDEPENDENT], tune_with_peft(bare, task)),
        ]

    yield Contest(
        name="tuning-svgd",
        work=(
            f"{tuning.n_prompts} particles of SVGD, soft prompts of {tuning.n_virtual} vectors under a normal prior, against "
            f"as many independent members; {tuning.n_steps} steps of 8 examples, inputs of {tuning.shortest} to "
            f"{tuning.longest} tokens, answers of 1 to {tuning.n_answers}; {tuning.model}."
        ),
        sides=[
            Side(name=SVGD, run=lambda: tune_particles(hosted, task, std=size.std)),
            Side(name=INDEPENDENT, run=lambda: tune_fused(hosted, task)),
        ],
        goals=[
            Goal(
                label=f"time {SVGD} : {INDEPENDENT}",
                at_most=1.15,
                value=lambda turn: turn[SVGD][SECONDS] / turn[INDEPENDENT][SECONDS],
            )
        ],
        compare=compare,
    )
