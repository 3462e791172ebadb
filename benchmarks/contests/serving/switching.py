"""Cost of switching prompts between requests: many prompts against a single one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.contests.serving.completions import Size, prompts_of, tasks_of
from benchmarks.measuring.agreement import tokens_agree
from benchmarks.measuring.contest import SECONDS, Agreement, Contest, Side, quotient
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, build_llama
from benchmarks.sides.workload import CompletionTask

FULL = Size(model=COMPLETING)
QUICK = Size(model=COMPLETING_QUICK, n_prompts=4, n_new=16)

EVERY, ONE = "another prompt every request", "one prompt"


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """One engine for both sides; ``http`` has no effect."""
    prompts = prompts_of(size)
    switching = tasks_of(size)
    alike = [replace(task, prompt=0) for task in switching]
    engine = EngineSide(build_llama(size.model), prompts=prompts)
    static = StaticBatch(build_llama(size.model), prompts=prompts)
    yield Contest(
        name="switching",
        work=(
            f"{size.n_requests} completions as in `completions`: {size.n_prompts} prompts in turn, or the first for all; "
            f"{size.model}."
        ),
        sides=[
            Side(name=EVERY, run=lambda: engine.complete(switching)),
            Side(name=ONE, run=lambda: engine.complete(alike)),
        ],
        goals=[quotient(SECONDS, EVERY, ONE, at_most=1.03, label="time, another prompt every request : one prompt")],
        compare=lambda answers: _compare(answers, {EVERY: switching, ONE: alike}, static),
    )


def _compare(
    answers: Mapping[str, Any], tasks: Mapping[str, Sequence[CompletionTask]], static: StaticBatch
) -> list[Agreement]:
    return [
        tokens_agree(f"{name}, against transformers", answers[name], static.complete(tasks[name])) for name in answers
    ]
