"""Checks of the greedy tokens of a contest's sides."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmarks.contests.smollm2.data import load_tokenizer
from benchmarks.contests.smollm2.greedy import Row, greedy_within_rounding
from benchmarks.contests.smollm2.model import load_exact, load_plain
from benchmarks.measuring.contest import Agreement
from benchmarks.sides.workload import CompletionTask

Answer = tuple[int, ...] | None
"""Generated tokens; None if they are not known."""
LEAST_SHARE = 0.5
"""Of the answers that must be known."""


class Checker:
    """Compares the first ``n_checked`` answers with the float32 model, which it loads once."""

    def __init__(self, tasks: Sequence[CompletionTask], *, prompts: Sequence[Tensor] = (), n_checked: int) -> None:
        self._tasks = tasks[:n_checked]
        self._prompts = prompts
        self._plain, self._exact = load_plain(), load_exact()

    def check(self, label: str, answers: Sequence[Answer], *, of_rounding: bool = True) -> list[Agreement]:
        """Agreements of one side. Arguments as in ``greedy_within_rounding``."""
        rows = [self._row(task, new) for task, new in zip(self._tasks, answers, strict=False) if new is not None]
        if len(rows) < LEAST_SHARE * len(self._tasks):
            detail = f"only {len(rows)} of {len(self._tasks)} texts have the usual token ids"
            return [Agreement(label=f"{label}, tokens", holds=False, detail=detail)]
        return greedy_within_rounding(
            f"{label}, {len(rows)} answers",
            rows,
            plain=self._plain,
            exact=self._exact,
            n_new=self._tasks[0].n_new,
            of_rounding=of_rounding,
        )

    def _row(self, task: CompletionTask, new: tuple[int, ...]) -> Row:
        return Row(ids=task.ids, new=tuple(new), vectors=None if task.prompt is None else self._prompts[task.prompt])


def answers_of_texts(texts: Sequence[str], tasks: Sequence[CompletionTask]) -> list[Answer]:
    """Token ids of generated texts; None where a text's usual token ids are not as many as were generated."""
    tokenizer = load_tokenizer()
    found = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return [ids if len(ids) == task.n_new else None for ids, task in zip(found, tasks, strict=True)]
