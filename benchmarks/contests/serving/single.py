"""A single request: overhead of the engine without batching."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measuring.agreement import tokens_agree
from benchmarks.measuring.contest import Contest, Side, speedup
from benchmarks.sides.batch import generate
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, LlamaSize, build_llama
from benchmarks.sides.workload import CompletionTask, random_texts


@dataclass(frozen=True, kw_only=True)
class Size:
    """One text without a prompt."""

    model: LlamaSize
    n_input: int = 32
    n_new: int = 128


FULL = Size(model=COMPLETING)
QUICK = Size(model=COMPLETING_QUICK, n_new=32)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    engine = EngineSide(build_llama(size.model))
    bare = build_llama(size.model)
    (ids,) = random_texts(1, shortest=size.n_input, longest=size.n_input, n_vocab=size.model.n_vocab, seed=3)
    task = CompletionTask(ids=ids, n_new=size.n_new)
    yield Contest(
        name="single",
        work=f"One request, {size.n_input} input and {size.n_new} new tokens, greedy; {size.model}.",
        sides=[
            Side(name="engine", run=lambda: engine.complete([task])),
            Side(name="generate", run=lambda: [generate(bare, ids, n_new=size.n_new)]),
        ],
        goals=[speedup("engine", "generate", at_least=0.95)],
        compare=lambda answers: [tokens_agree("engine against generate", answers["engine"], answers["generate"])],
    )
