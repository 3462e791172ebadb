"""Order of the training examples, and batches in groups of equal length.

The order depends only on the seed and the step, and is the same for all members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch

from service.engine.shapes import Int, Tensor
from workers.inputs.examples import EncodedExample

Item = TypeVar("Item")


class Order:
    """A random permutation per epoch. Batches continue across the ends of epochs, so all batches are full."""

    def __init__(self, n_examples: int, *, batch_size: int, seed: int) -> None:
        self._n_examples = n_examples
        self._batch_size = batch_size
        self._seed = seed
        self._epochs: dict[int, list[int]] = {}

    def batch(self, step: int) -> list[int]:
        """Indices of the examples of update ``step``, which counts from 0."""
        start = step * self._batch_size
        return [self._at(i) for i in range(start, start + self._batch_size)]

    def _at(self, position: int) -> int:
        epoch, index = divmod(position, self._n_examples)
        if epoch not in self._epochs:
            self._epochs = {epoch - 1: self._epochs.get(epoch - 1, []), epoch: self._permutation(epoch)}
        return self._epochs[epoch][index]

    def _permutation(self, epoch: int) -> list[int]:
        digest = hashlib.sha256(f"{self._seed}/{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        order: list[int] = torch.randperm(self._n_examples, generator=generator).tolist()
        return order


@dataclass(frozen=True)
class LengthGroup:
    """Examples of equal input length and equal answer length, which need no padding.

    Attributes:
        examples: in the order of the rows.
        ids: `[n_rows, length]`, input tokens.
        targets: `[n_rows, n_answers]`, the tokens that the last ``n_answers`` input tokens predict.
    """

    examples: tuple[EncodedExample, ...]
    ids: Int[Tensor, "n_rows length"]
    targets: Int[Tensor, "n_rows n_answers"]

    @property
    def n_rows(self) -> int:
        return int(self.ids.shape[0])

    @property
    def length(self) -> int:
        return int(self.ids.shape[1])

    @property
    def n_answers(self) -> int:
        return int(self.targets.shape[1])


@dataclass(frozen=True)
class Batch:
    """Examples of one forward, grouped by length."""

    groups: tuple[LengthGroup, ...]

    @property
    def n_tokens(self) -> int:
        return sum(group.ids.numel() for group in self.groups)

    @property
    def n_answers(self) -> int:
        return sum(group.targets.numel() for group in self.groups)


def batch_of(examples: Sequence[EncodedExample]) -> Batch:
    """Group examples by length, shortest first. Groups keep the order of their examples."""
    by_length: dict[tuple[int, int], list[EncodedExample]] = {}
    for example in examples:
        by_length.setdefault((example.length, len(example.target_ids)), []).append(example)
    return Batch(tuple(_group(rows) for _, rows in sorted(by_length.items())))


def _group(rows: Sequence[EncodedExample]) -> LengthGroup:
    return LengthGroup(
        tuple(rows),
        torch.tensor([example.input_ids + example.target_ids[:-1] for example in rows]),
        torch.tensor([example.target_ids for example in rows]),
    )


def cut(items: Sequence[Item], *, parts: int) -> list[list[Item]]:
    """Split ``items`` into ``parts`` consecutive lists of nearly equal size, or fewer if there are fewer items."""
    if not items:
        return []
    parts = min(parts, len(items))
    bounds = [i * len(items) // parts for i in range(parts + 1)]
    return [list(items[a:b]) for a, b in pairwise(bounds)]
