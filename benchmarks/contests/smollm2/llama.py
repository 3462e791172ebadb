"""Completions without prompts: the service in bfloat16, llama.cpp with the quantised file, and ``generate`` for one request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.contests.smollm2.answers import Checker, answers_of_texts
from benchmarks.contests.smollm2.model import LABEL, load_plain, model_file, model_folder
from benchmarks.contests.smollm2.texts import story_texts
from benchmarks.measuring.batches import fastest
from benchmarks.measuring.contest import Agreement, Contest, Goal, Side, Unavailable, speedup
from benchmarks.sides.batch import generate
from benchmarks.sides.line_process import LineProcess, version_in
from benchmarks.sides.service import CompletionService, serving_folder
from benchmarks.sides.workload import CompletionTask

ROOT: Final = Path(__file__).resolve().parents[3]
ENVIRONMENT: Final = ROOT / ".venv-llama"
SCRIPT: Final = ROOT / "benchmarks" / "environments" / "llama_process.py"
HTTP, LLAMA, GENERATE = "HTTP", "llama.cpp", "generate"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Requests at once. parallel: numbers of sequences of which llama.cpp gets the fastest.

    needs_llama: whether the contest is about llama.cpp; otherwise it is a side if it is installed.
    generate_goal: lower bound against ``generate``, for one request.
    """

    name: str
    n_requests: int
    parallel: tuple[int, ...]
    needs_llama: bool
    shortest: int = 8
    longest: int = 64
    n_new: int = 64
    n_checked: int = 16
    llama_goal: float | None = None
    generate_goal: float | None = None

    def tasks(self) -> list[CompletionTask]:
        texts = story_texts(self.n_requests, shortest=self.shortest, longest=self.longest, seed=2)
        return [CompletionTask(ids=ids, n_new=self.n_new) for ids in texts]


MANY = Size(name="smollm2-llama.cpp", n_requests=32, parallel=(8, 16, 32), needs_llama=True, llama_goal=1.0)
MANY_QUICK = replace(MANY, n_requests=4, parallel=(2, 4), n_new=8, n_checked=2)
ONE = Size(
    name="smollm2-single",
    n_requests=1,
    parallel=(1,),
    needs_llama=False,
    shortest=32,
    longest=32,
    n_new=128,
    generate_goal=1.2,
)
ONE_QUICK = replace(ONE, n_new=16)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides. Needs ``http``.

    Raises:
        Unavailable: the model is missing, or llama.cpp is missing in the contest with it.
    """
    if not http:
        raise ValueError("this contest is about HTTP: expected http=True.")
    tasks, folder = size.tasks(), model_folder()
    sides, notes, goals = [], [], []
    with contextlib.ExitStack() as stack:
        if (ENVIRONMENT / ".ready").exists():
            llama = stack.enter_context(_llama())
            n_parallel = fastest(lambda n: _llama_run(llama, tasks, n_parallel=n)(), size.parallel)
            sides.append(Side(name=LLAMA, run=_llama_run(llama, tasks, n_parallel=n_parallel)))
            notes.append(_note(n_parallel, size=size))
            goals.append(speedup(HTTP, LLAMA, at_least=size.llama_goal))
        elif size.needs_llama:
            raise Unavailable("llama.cpp is not installed; `make llama` compiles it")
        url = stack.enter_context(serving_folder(folder, dtype="bfloat16"))
        service = stack.enter_context(CompletionService.connect(url))
        sides.insert(0, Side(name=HTTP, run=lambda: service.texts(tasks)))
        if size.n_requests == 1:
            sides.append(Side(name=GENERATE, run=_generate_run(load_plain(), tasks)))
            goals.insert(0, speedup(HTTP, GENERATE, at_least=size.generate_goal))
        yield _contest(size, tasks, sides=sides, goals=goals, notes=notes)


def _note(n_parallel: int, *, size: Size) -> str:
    version = version_in(ENVIRONMENT, "llama-cpp-python")
    return (
        f"llama.cpp (llama-cpp-python {version}) runs the GGUF file (Q4_1), with {n_parallel} sequences at once: the fastest of "
        f"{size.parallel}."
    )


def _contest(
    size: Size, tasks: Sequence[CompletionTask], *, sides: Sequence[Side], goals: Sequence[Goal], notes: Sequence[str]
) -> Contest:
    return Contest(
        name=size.name,
        work=(
            f"{size.n_requests} requests at once without a prompt, texts of {size.shortest} to {size.longest} tokens, "
            f"{size.n_new} new tokens, greedy; {LABEL}."
        ),
        sides=sides,
        goals=goals,
        compare=lambda answers: _compare(answers, tasks, size=size),
        notes=notes,
    )


def _compare(answers: Mapping[str, Any], tasks: Sequence[CompletionTask], *, size: Size) -> list[Agreement]:
    checker = Checker(tasks, n_checked=size.n_checked)
    found = []
    for name, answer in answers.items():
        tokens = answers_of_texts(answer, tasks) if name == HTTP else [tuple(row) for row in answer]
        # llama.cpp also rounds states to 8 bits before each product.
        found += checker.check(name, tokens, of_rounding=name != LLAMA)
    return found


@contextlib.contextmanager
def _llama() -> Iterator[LineProcess]:
    arguments = [str(model_file()), str(torch.get_num_threads())]
    with LineProcess.start(ENVIRONMENT / "bin" / "python", SCRIPT, arguments) as process:
        yield process


def _llama_run(llama: LineProcess, tasks: Sequence[CompletionTask], *, n_parallel: int) -> Callable[[], Any]:
    rows = [task.ids for task in tasks]
    return lambda: llama.ask(rows=rows, n_new=tasks[0].n_new, n_parallel=n_parallel)


def _generate_run(bare: Any, tasks: Sequence[CompletionTask]) -> Callable[[], Any]:
    return lambda: [generate(bare, task.ids, n_new=task.n_new) for task in tasks]
