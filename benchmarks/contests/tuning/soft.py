"""Prompt tuning: several soft prompts in one fused run, and a single one, against PEFT one prompt after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.measuring.contest import Agreement, Contest, Goal, Side, speedup
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.models import LlamaSize, build_llama
from benchmarks.sides.tuning import Tuned, TuningTask, random_examples, tune_fused, tune_with_peft
from benchmarks.sides.workload import soft_prompts
from service.engine.model.hosted_model import HostedModel

ENGINE, PEFT, PADDED_PEFT = "engine", "PEFT", "PEFT padded"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Prompts, random examples and goals. pad_to: length that an additional PEFT side pads to."""

    name: str
    model: LlamaSize
    n_prompts: int = 8
    n_virtual: int = 20
    n_examples: int = 400
    shortest: int = 24
    longest: int = 96
    n_answers: int = 8
    n_steps: int = 100
    pad_to: int | None = None
    engine_peft: float = 1.0
    engine_padded: float = 1.0

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


SMALL_LLAMA = LlamaSize(d_model=256, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=1_024)
TINY_LLAMA = LlamaSize(d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=512)

FUSED = Size(name="tuning-fused", model=SMALL_LLAMA, pad_to=256, engine_peft=1.8, engine_padded=4.5)
FUSED_QUICK = Size(
    name="tuning-fused", model=TINY_LLAMA, n_prompts=4, n_steps=6, pad_to=256, engine_peft=1.8, engine_padded=4.5
)
SINGLE = Size(name="tuning-single", model=SMALL_LLAMA, n_prompts=1, engine_peft=1.2)
SINGLE_QUICK = Size(name="tuning-single", model=TINY_LLAMA, n_prompts=1, n_steps=6, engine_peft=1.2)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides; ``http`` has no effect."""
    task = size.task()
    hosted = HostedModel("benchmark", build_llama(size.model), None, revision="random")
    bare = build_llama(size.model)
    sides = [
        Side(name=ENGINE, run=lambda: tune_fused(hosted, task)),
        Side(name=PEFT, run=lambda: tune_with_peft(bare, task)),
    ]
    goals: list[Goal] = [speedup(ENGINE, PEFT, at_least=size.engine_peft)]
    if size.pad_to is not None:
        sides.append(Side(name=PADDED_PEFT, run=lambda: tune_with_peft(bare, task, pad_to=size.pad_to)))
        goals.append(speedup(ENGINE, PADDED_PEFT, at_least=size.engine_padded))
    yield Contest(name=size.name, work=_describe(size), sides=sides, goals=goals, compare=compare)


def compare(answers: Mapping[str, Tuned]) -> list[Agreement]:
    """Compare each side with PEFT padded to the longest row of a batch."""
    return [
        agreement
        for name in answers
        if name != PEFT
        for agreement in tuned_alike(f"{name} against {PEFT}", answers[name], answers[PEFT])
    ]


def _describe(size: Size) -> str:
    padding = "" if size.pad_to is None else f"; padded PEFT fills all rows up to {size.pad_to} tokens"
    return (
        f"{size.n_prompts} soft prompts of {size.n_virtual} vectors, {size.n_steps} steps of 8 examples, inputs of "
        f"{size.shortest} to {size.longest} tokens, answers of 1 to {size.n_answers}{padding}; {size.model}."
    )
