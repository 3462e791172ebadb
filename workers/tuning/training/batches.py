"""The order of the examples, and the batches cut from it: the same for all members, told by the seed and the step alone."""

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
    """Epoch after epoch, each a permutation of its own; batch follows batch across their borders, so all are full."""

    def __init__(self, n_examples: int, *, batch_size: int, seed: int) -> None:
        self._n_examples = n_examples
        self._batch_size = batch_size
        self._seed = seed
        self._epochs: dict[int, list[int]] = {}

    def batch(self, step: int) -> list[int]:
        """Indices of the examples of update ``step``, counted from 0."""
        begin = step * self._batch_size
        return [self._at(i) for i in range(begin, begin + self._batch_size)]

    def _at(self, place: int) -> int:
        epoch, index = divmod(place, self._n_examples)
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
    """Examples alike in both lengths, so that nothing is padded.

    Attributes:
        examples: themselves, in the order of the rows.
        ids: `[n_rows, length]`, what is read.
        targets: `[n_rows, n_answers]`, what the last ``n_answers`` tokens are to predict.
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
    """Examples of one forward, by length."""

    groups: tuple[LengthGroup, ...]

    @property
    def n_tokens(self) -> int:
        return sum(group.ids.numel() for group in self.groups)

    @property
    def n_answers(self) -> int:
        return sum(group.targets.numel() for group in self.groups)


def batch_of(examples: Sequence[EncodedExample]) -> Batch:
    """The examples in groups of equal length, shortest first; within a group in their order."""
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
    """``items`` in ``parts`` runs of nearly equal size, or as many as there are items."""
    if not items:
        return []
    parts = min(parts, len(items))
    bounds = [i * len(items) // parts for i in range(parts + 1)]
    return [list(items[a:b]) for a, b in pairwise(bounds)]
