"""Posterior predictive of several members as one request, against one request for each member, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.measuring.agreement import tokens_agree
from benchmarks.measuring.contest import Agreement, Contest, Side, speedup
from benchmarks.sides.averaging import complete_on_average
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, LlamaSize, build_llama
from benchmarks.sides.workload import CompletionTask, random_texts, soft_prompts

ENSEMBLE, SINGLY, PLAIN = "engine", "one by one", "transformers"


@dataclass(frozen=True, kw_only=True)
class Size:
    """One text under ``n_members`` soft prompts."""

    model: LlamaSize
    n_members: int = 8
    n_virtual: int = 20
    n_input: int = 32
    n_new: int = 64

    def prompts(self) -> list[Tensor]:
        return soft_prompts(self.n_members, n_virtual=self.n_virtual, d_model=self.model.d_model, seed=7)

    def text(self) -> tuple[int, ...]:
        (ids,) = random_texts(1, shortest=self.n_input, longest=self.n_input, n_vocab=self.model.n_vocab, seed=8)
        return ids


FULL = Size(model=COMPLETING)
QUICK = Size(model=COMPLETING_QUICK, n_new=32)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides; ``http`` has no effect."""
    prompts, ids = size.prompts(), size.text()
    engine = EngineSide(build_llama(size.model), prompts=prompts)
    bare = build_llama(size.model)
    members = tuple(range(size.n_members))
    average = CompletionTask(ids=ids, n_new=size.n_new, ensemble=members)
    tasks = [CompletionTask(ids=ids, n_new=size.n_new, prompt=i) for i in members]

    def compare(answers: Mapping[str, Any]) -> Sequence[Agreement]:
        static = StaticBatch(bare, prompts=prompts)
        return [
            tokens_agree(f"{ENSEMBLE} against the average in transformers", answers[ENSEMBLE], answers[PLAIN]),
            tokens_agree(f"{SINGLY} against generate", answers[SINGLY], [static.complete([task])[0] for task in tasks]),
        ]

    yield Contest(
        name="predictive",
        work=(
            f"One request for the average prediction of {size.n_members} soft prompts of {size.n_virtual} vectors, "
            f"{size.n_input} input and {size.n_new} new tokens, greedy; one by one, a request for each prompt with its own "
            f"tokens; {size.model}."
        ),
        sides=[
            Side(name=ENSEMBLE, run=lambda: engine.complete([average])),
            Side(name=SINGLY, run=lambda: [engine.complete([task])[0] for task in tasks]),
            Side(name=PLAIN, run=lambda: [complete_on_average(bare, ids, prompts=prompts, n_new=size.n_new)]),
        ],
        goals=[speedup(ENSEMBLE, SINGLY, at_least=4.0), speedup(ENSEMBLE, PLAIN)],
        compare=compare,
        notes=[f"{PLAIN} has the rows of all prompts in one batch with a cache, and averages their probabilities."],
    )
