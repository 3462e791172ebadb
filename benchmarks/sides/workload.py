"""Workload: random texts and prompts, equal for all sides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class CompletionTask:
    """One completion: a text, how many tokens to add, and the index of its soft prompt (None: bare).

    ensemble: indices of soft prompts whose predictions are averaged, in place of ``prompt``.
    """

    ids: tuple[int, ...]
    n_new: int
    prompt: int | None = None
    ensemble: tuple[int, ...] = ()


def random_texts(n: int, *, shortest: int, longest: int, n_vocab: int, seed: int) -> list[tuple[int, ...]]:
    """Token ids; lengths uniform from ``shortest`` to ``longest``."""
    draw = random.Random(seed)
    lengths = [draw.randint(shortest, longest) for _ in range(n)]
    return [tuple(draw.randrange(1, n_vocab) for _ in range(length)) for length in lengths]


def soft_prompts(n: int, *, n_virtual: int, d_model: int, seed: int) -> list[Tensor]:
    """Vectors `[n_virtual, d_model]` with the standard deviation of the models' token embeddings."""
    generator = torch.Generator().manual_seed(seed)
    return [0.02 * torch.randn(n_virtual, d_model, generator=generator) for _ in range(n)]


def left_padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Left-padded ids `[n, longest]` and their attention mask."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
