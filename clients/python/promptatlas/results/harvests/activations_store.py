"""Batches of activations from a harvest, shuffled or in order, for training on activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from promptatlas.results.harvests.shards import Shards
from promptatlas.results.tensors.tensor_file import Array


class ActivationsStore:
    """An iterable over all rows, in batches `[batch_size, …]`; the last batch may be smaller.

    Batches are writable torch tensors if torch is installed, else numpy arrays. See ``Harvest.activations_store``.
    """

    def __init__(
        self,
        shards: Shards,
        name: str,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        skip_added: bool,
        n_mixed: int,
    ) -> None:
        if batch_size < 1 or n_mixed < 1:
            raise ValueError(f"batch_size, n_mixed: expected 1 or more, got {batch_size} and {n_mixed}")
        self._shards = shards
        self._name = name
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._skip_added = skip_added
        self._n_mixed = n_mixed if shuffle else 1
        self._epoch = 0
        self._endless: Iterator[Any] | None = None

    @property
    def d_in(self) -> int:
        """Length of a row. Raises ValueError if a row is not a vector."""
        shape = self._shards.shape(self._name)[1:]
        if len(shape) != 1:
            raise ValueError(f"{self._name}: expected rows that are vectors, got rows of shape {list(shape)}")
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        """All rows once. A shuffled store has another order in each epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        return (_as_torch(batch) for batch in self._batches(np.random.default_rng([self._seed, epoch])))

    def next_batch(self) -> Any:
        """The next batch, always a full one; a new epoch starts after the last row. Raises StopIteration if there are no rows."""
        if self._endless is None:
            self._endless = self._endless_batches()
        return next(self._endless)

    def _endless_batches(self) -> Iterator[Any]:
        left: list[Array] = []
        while True:
            epoch, self._epoch = self._epoch, self._epoch + 1
            n_seen = 0
            for batch in self._batches(np.random.default_rng([self._seed, epoch])):
                n_seen += len(batch)
                left.append(batch)
                while sum(map(len, left)) >= self._batch_size:
                    rows = np.concatenate(left)
                    left = [rows[self._batch_size :]]
                    yield _as_torch(rows[: self._batch_size])
            if n_seen == 0:
                return

    def _batches(self, random: np.random.Generator) -> Iterator[Array]:
        left: Array | None = None
        for pool in self._pools(random):
            rows = pool if left is None else np.concatenate([left, pool])
            n_full = len(rows) - len(rows) % self._batch_size
            for start in range(0, n_full, self._batch_size):
                yield rows[start : start + self._batch_size]
            left = rows[n_full:]
        if left is not None and len(left):
            yield left

    def _pools(self, random: np.random.Generator) -> Iterator[Array]:
        """The rows of ``n_mixed`` shards at a time, shuffled or in order."""
        order = np.arange(self._shards.n_shards)
        if self._shuffle:
            random.shuffle(order)
        for start in range(0, len(order), self._n_mixed):
            rows = np.concatenate([self._rows(int(number)) for number in order[start : start + self._n_mixed]])
            yield rows[random.permutation(len(rows))] if self._shuffle else rows

    def _rows(self, number: int) -> Array:
        shard = self._shards.shard(number)
        rows = shard.states(self._name)
        added = shard.column("added") if self._skip_added else None
        return rows if added is None else rows[~added.astype(bool)]


def _as_torch(batch: Array) -> Any:
    copy = np.array(batch)
    try:
        import torch
    except ImportError:
        return copy
    return torch.from_numpy(copy)
