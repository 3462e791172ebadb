"""Completions over HTTP with soft prompts, against a static batch of transformers, both in bfloat16."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from benchmarks.contests.smollm2.answers import Checker, answers_of_texts
from benchmarks.contests.smollm2.model import LABEL, load_plain, model_folder, vocabulary_prompts
from benchmarks.contests.smollm2.texts import story_texts
from benchmarks.measuring.contest import Agreement, Contest, Side, speedup
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.service import CompletionService, serving_folder
from benchmarks.sides.workload import CompletionTask

HTTP, STATIC = "HTTP", "static batch"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Requests, ``n_prompts`` soft prompts over them, and how many are compared with float32."""

    n_requests: int = 32
    n_prompts: int = 16
    n_virtual: int = 20
    shortest: int = 8
    longest: int = 64
    n_new: int = 64
    n_checked: int = 16

    def tasks(self) -> list[CompletionTask]:
        """Consecutive requests have different prompts."""
        texts = story_texts(self.n_requests, shortest=self.shortest, longest=self.longest, seed=2)
        return [CompletionTask(ids=ids, n_new=self.n_new, prompt=i % self.n_prompts) for i, ids in enumerate(texts)]


FULL = Size()
QUICK = replace(FULL, n_requests=4, n_prompts=2, n_new=8, n_checked=2)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides. Needs ``http``."""
    if not http:
        raise ValueError("this contest is about HTTP: expected http=True.")
    bare = load_plain()
    prompts = vocabulary_prompts(bare, size.n_prompts, n_virtual=size.n_virtual, seed=1)
    static = StaticBatch(bare, prompts=prompts)
    tasks = size.tasks()
    with (
        serving_folder(model_folder(), dtype="bfloat16") as url,
        CompletionService.connect(url, prompts=prompts) as service,
    ):
        yield Contest(
            name="smollm2-completions",
            work=(
                f"{size.n_requests} requests at once over {size.n_prompts} soft prompts of {size.n_virtual} virtual tokens, "
                f"texts of {size.shortest} to {size.longest} tokens, {size.n_new} new tokens, greedy; {LABEL}."
            ),
            sides=[
                Side(name=HTTP, run=lambda: service.texts(tasks)),
                Side(name=STATIC, run=lambda: static.complete(tasks)),
            ],
            goals=[speedup(HTTP, STATIC, at_least=2.0)],
            compare=lambda answers: compare(answers, tasks, size=size, prompts=prompts),
        )


def compare(
    answers: Mapping[str, Any], tasks: Sequence[CompletionTask], *, size: Size, prompts: Sequence[Tensor]
) -> list[Agreement]:
    """Each side's tokens against float32."""
    checker = Checker(tasks, prompts=prompts, n_checked=size.n_checked)
    texts = answers_of_texts(answers[HTTP], tasks)
    return [*checker.check(HTTP, texts), *checker.check(STATIC, answers[STATIC])]
