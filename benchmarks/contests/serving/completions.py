"""Many requests with many soft prompts: one batch of the engine, PEFT by adapter, and a static batch of transformers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.measuring.agreement import n_differing, tokens_agree
from benchmarks.measuring.contest import Agreement, Contest, Side, speedup
from benchmarks.sides.adapters import AdapterBatches
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, LlamaSize, build_llama
from benchmarks.sides.service import CompletionService
from benchmarks.sides.workload import CompletionTask, random_texts, soft_prompts


@dataclass(frozen=True, kw_only=True)
class Size:
    """Requests: ``n_each`` for each of ``n_prompts`` soft prompts."""

    model: LlamaSize
    n_prompts: int = 16
    n_virtual: int = 20
    n_each: int = 2
    shortest: int = 8
    longest: int = 64
    n_new: int = 64

    @property
    def n_requests(self) -> int:
        return self.n_prompts * self.n_each


FULL = Size(model=COMPLETING)
QUICK = Size(model=COMPLETING_QUICK, n_prompts=4, n_new=16)


def prompts_of(size: Size) -> list[Tensor]:
    """Soft prompts of a size."""
    return soft_prompts(size.n_prompts, n_virtual=size.n_virtual, d_model=size.model.d_model, seed=1)


def tasks_of(size: Size) -> list[CompletionTask]:
    """Requests of a size; consecutive ones have different prompts."""
    texts = random_texts(
        size.n_requests, shortest=size.shortest, longest=size.longest, n_vocab=size.model.n_vocab, seed=2
    )
    return [CompletionTask(ids=ids, n_new=size.n_new, prompt=i % size.n_prompts) for i, ids in enumerate(texts)]


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides."""
    prompts, tasks = prompts_of(size), tasks_of(size)
    engine = EngineSide(build_llama(size.model), prompts=prompts)
    adapters = AdapterBatches(build_llama(size.model), prompts=prompts)
    static = StaticBatch(build_llama(size.model), prompts=prompts)
    sides = [
        Side(name="engine", run=lambda: engine.complete(tasks)),
        Side(name="PEFT by adapter", run=lambda: adapters.complete(tasks)),
        Side(name="static batch", run=lambda: static.complete(tasks)),
    ]
    goals = [
        speedup("engine", "PEFT by adapter", at_least=4.3),
        speedup("engine", "static batch", at_least=1.3),
    ]
    right = adapters.complete_singly(tasks)
    with contextlib.ExitStack() as stack:
        if http:
            service = stack.enter_context(CompletionService.start(size.model, prompts=prompts))
            sides.append(Side(name="HTTP", run=lambda: service.complete(tasks)))
            goals.append(speedup("HTTP", "PEFT by adapter", at_least=3.8))
        yield Contest(
            name="completions",
            work=_describe(size),
            sides=sides,
            goals=goals,
            notes=[_wrong_share(adapters, tasks, right)],
            compare=lambda answers: _compare(answers, right),
        )


def _describe(size: Size) -> str:
    return (
        f"{size.n_requests} requests at once over {size.n_prompts} soft prompts of {size.n_virtual} virtual tokens, texts of "
        f"{size.shortest} to {size.longest} tokens, {size.n_new} new tokens, greedy; {size.model}."
    )


def _compare(answers: Mapping[str, Any], right: Sequence[Sequence[int]]) -> list[Agreement]:
    return [
        tokens_agree(f"{name} against PEFT one by one", answers[name], right)
        for name in answers
        if name != "PEFT by adapter"
    ]


def _wrong_share(adapters: AdapterBatches, tasks: Sequence[CompletionTask], right: Sequence[Sequence[int]]) -> str:
    n_wrong, n_tokens = n_differing(adapters.complete(tasks), right)
    return (
        f"PEFT batched by adapter gives {n_wrong / n_tokens:.0%} other tokens than PEFT one by one: its positions count "
        "through the padding."
    )
