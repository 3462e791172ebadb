"""A step of the trainer against its floor: the bare products of its linear layers at this machine's speed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contests.smollm2.data import arithmetic
from benchmarks.contests.smollm2.model import DTYPE, LABEL, load_hosted, load_plain, vocabulary_prompts
from benchmarks.measuring.contest import SECONDS, Agreement, Contest, Goal, Side, quotient
from benchmarks.sides.tuning import TuningTask, new_trainer
from workers.inputs.examples import EncodedExample
from workers.tuning.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of prompts that one trainer tunes, each with its upper bound; None: only reported."""

    n_prompts: tuple[int, ...] = (8, 1)
    at_most: tuple[float | None, ...] = (1.6, None)
    n_steps: int = 4
    n_virtual: int = 20
    batch_size: int = 16


FULL = Size()
QUICK = replace(FULL, n_prompts=(2,), at_most=(1.6,), n_steps=1)


class Steps:
    """A trainer that goes on with the same examples in every run, and the rows of its last steps."""

    def __init__(self, trainer: Trainer, task: TuningTask, *, n_steps: int) -> None:
        self._trainer = trainer
        self._batches = task.batches()
        self._n_steps = n_steps
        self._n_prompts = len(task.starts)
        self._n_virtual = len(task.starts[0]["soft"])

    def run(self) -> int:
        """Make the next steps. Returns the number of tokens in their reports."""
        return sum(self._trainer.step().n_tokens for _ in range(self._n_steps))

    def rows(self) -> list[tuple[int, int]]:
        """Of each of the last steps: packed tokens (virtual ones once a prompt), and answer tokens."""
        done = self._trainer.step_number
        return [self._rows(batch) for batch in self._batches[done - self._n_steps : done]]

    def n_text_tokens(self) -> int:
        """Packed tokens of the last steps without the virtual ones."""
        return sum(n - self._n_prompts * self._n_virtual for n, _ in self.rows())

    def _rows(self, batch: Sequence[EncodedExample]) -> tuple[int, int]:
        n_text = sum(example.length for example in batch)
        n_answers = sum(len(example.target_ids) for example in batch)
        return self._n_prompts * (self._n_virtual + n_text), self._n_prompts * n_answers


class Products:
    """``F.linear`` with every weight of the model, and the gradient with respect to its input."""

    def __init__(self, module: Any) -> None:
        *blocks, last = [_linears(block) for block in module.model.layers]
        self._all = [weight for block in blocks for weight in block.values()]
        # Keys and values are those of all tokens; nothing else of the last block is needed but at answers.
        self._all += [weight for name, weight in last.items() if name in ("k_proj", "v_proj")]
        self._answers = [weight for name, weight in last.items() if name not in ("k_proj", "v_proj")]
        self._answers.append(module.lm_head.weight)

    def run(self, rows: Sequence[tuple[int, int]]) -> int:
        """The products of steps with these numbers of packed tokens and answer tokens. Returns multiplications."""
        return sum(_products(self._all, n) + _products(self._answers, n_answers) for n, n_answers in rows)


def _linears(block: nn.Module) -> dict[str, Tensor]:
    named = block.named_modules()
    return {path.rpartition(".")[2]: module.weight for path, module in named if isinstance(module, nn.Linear)}


@torch.no_grad()
def _products(weights: Sequence[Tensor], n_rows: int) -> int:
    widths = {width for weight in weights for width in weight.shape}
    rows = {width: torch.ones(n_rows, width, dtype=DTYPE) for width in widths}
    for weight in weights:
        torch.nn.functional.linear(rows[weight.shape[1]], weight)
    for weight in reversed(weights):
        rows[weight.shape[0]] @ weight
    return 2 * n_rows * sum(weight.numel() for weight in weights)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """A pair of sides for each number of prompts; ``http`` has no effect."""
    bare = load_plain()
    products = Products(bare)
    hosted = load_hosted()
    steps = {n: _steps(hosted, bare, size=size, n_prompts=n) for n in size.n_prompts}
    sides, goals = [], []
    for n, at_most in zip(size.n_prompts, size.at_most, strict=True):
        sides += [Side(name=_engine(n), run=steps[n].run), Side(name=_floor(n), run=_run_products(products, steps[n]))]
        goals.append(_goal(n, at_most=at_most))
    yield Contest(
        name="smollm2-step-floor",
        work=(
            f"{size.n_steps} steps of {' or '.join(map(str, size.n_prompts))} soft prompts of {size.n_virtual} vectors on "
            f"{size.batch_size} questions of DeepMind's arithmetic; {LABEL}."
        ),
        sides=sides,
        goals=goals,
        compare=lambda answers: [_same_work(n, answers[_engine(n)], steps[n]) for n in steps],
        notes=[
            "The floor has all packed tokens of a step in one product for each weight, forward and backward, and in the last "
            "block and the head only what answers need. Attention, norms, activations, the loss and the optimiser are not in it."
        ],
    )


def _steps(hosted: Any, bare: Any, *, size: Size, n_prompts: int) -> Steps:
    starts = vocabulary_prompts(bare, n_prompts, n_virtual=size.n_virtual, seed=5)
    task = TuningTask(
        examples=arithmetic(size.n_steps * size.batch_size),
        starts=[{"soft": start} for start in starts],
        n_steps=1_000,
        batch_size=size.batch_size,
    )
    return Steps(new_trainer(hosted, task), task, n_steps=size.n_steps)


def _run_products(products: Products, steps: Steps) -> Callable[[], int]:
    return lambda: products.run(steps.rows())


def _goal(n: int, *, at_most: float | None) -> Goal:
    label = f"time of a step with {n} prompts, engine : products"
    return quotient(SECONDS, _engine(n), _floor(n), label=label, at_most=at_most)


def _same_work(n: int, n_tokens: int, steps: Steps) -> Agreement:
    counted = steps.n_text_tokens()
    return Agreement(
        label=f"text tokens of the steps with {n} prompts",
        holds=n_tokens == counted,
        detail=f"{n_tokens:,} in the trainer's reports, {counted:,} in the products",
    )


def _engine(n: int) -> str:
    return f"engine, {n} prompts"


def _floor(n: int) -> str:
    return f"products, {n} prompts"
