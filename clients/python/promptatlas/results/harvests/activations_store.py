"""Batches of activations from a harvest, shuffled or in order, for training on activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from promptatlas.results.harvests.row_order import Rows, rows_everywhere, rows_of_mixed_shards
from promptatlas.results.harvests.shards import Shards

if TYPE_CHECKING:
    from torch.utils.data import IterableDataset

Shuffle = bool | Literal["global"]


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """How a store reads. See ``Harvest.activations_store``.

    is_single: whether a batch is one tensor; otherwise it is a dict of tensors by name.
    """

    batch_size: int
    shuffle: Shuffle
    seed: int
    skip_added: bool
    n_mixed: int
    is_single: bool

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.n_mixed < 1:
            raise ValueError(f"batch_size, n_mixed: expected 1 or more, got {self.batch_size} and {self.n_mixed}")
        if self.shuffle not in (True, False, "global"):
            raise ValueError(f"shuffle: expected True, False or 'global', got {self.shuffle!r}")


class ActivationsStore:
    """An iterable over all rows, in batches `[batch_size, …]`; the last batch may be smaller.

    Batches are writable torch tensors if torch is installed, else numpy arrays. A store of several tensors yields dicts of
    batches whose rows belong to the same tokens.
    """

    def __init__(self, shards: Shards, names: Sequence[str], *, options: StoreOptions) -> None:
        self._shards = shards
        self._names = tuple(names)
        self._options = options
        self._epoch = 0
        self._endless: Iterator[Any] | None = None

    @property
    def d_in(self) -> int:
        """Length of a row. Raises ValueError if a row is not a vector, or if tensors have rows of different lengths."""
        shapes = {self._shards.shape(name)[1:] for name in self._names}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            listed = ", ".join(str(list(shape)) for shape in sorted(shapes))
            raise ValueError(f"{', '.join(self._names)}: expected rows that are vectors of one length, got {listed}")
        return next(iter(shapes))[0]

    def __iter__(self) -> Iterator[Any]:
        """All rows once. A shuffled store has another order in each epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        return self.epoch(epoch)

    def epoch(self, number: int, *, part: int = 0, n_parts: int = 1) -> Iterator[Any]:
        """All rows once, in the order of an epoch.

        Args:
            part, n_parts: read only this share of the rows, for example of one process; shares have no row in common.
        """
        if not 0 <= part < n_parts:
            raise ValueError(f"part: expected 0 to {n_parts - 1}, got {part}")
        return map(self._as_batch, self._batches(number, part=part, n_parts=n_parts))

    def endless(self) -> Iterator[Any]:
        """Full batches without end: a new epoch follows the last row. Ends at once if there are no rows.

        For one tensor, this is what SAELens calls a data provider.
        """
        left: Rows | None = None
        size = self._options.batch_size
        while True:
            epoch, self._epoch = self._epoch, self._epoch + 1
            n_seen = 0
            for batch in self._batches(epoch, part=0, n_parts=1):
                n_seen += _length(batch)
                left = batch if left is None else _joined([left, batch])
                while _length(left) >= size:
                    yield self._as_batch(_cut(left, slice(0, size)))
                    left = _cut(left, slice(size, None))
            if n_seen == 0:
                return

    def next_batch(self) -> Any:
        """The next batch of ``endless``. Raises StopIteration if there are no rows."""
        if self._endless is None:
            self._endless = self.endless()
        return next(self._endless)

    def torch_dataset(self, *, rank: int = 0, world_size: int = 1) -> IterableDataset[Any]:
        """A ``torch.utils.data.IterableDataset`` of batches, for a ``DataLoader`` with ``batch_size=None``.

        Rows are divided among the loader's workers, and among ``world_size`` processes. ``set_epoch(n)`` before an epoch
        selects its order. Raises ImportError without torch.
        """
        # Imported here, because the SDK does not require torch.
        from promptatlas.results.harvests.torch_dataset import StoreDataset

        return StoreDataset(self, rank=rank, world_size=world_size)

    def _batches(self, epoch: int, *, part: int, n_parts: int) -> Iterator[Rows]:
        options, left = self._options, None
        random = np.random.default_rng([options.seed, epoch])
        for pool in self._pools(random, part=part, n_parts=n_parts):
            rows = pool if left is None else _joined([left, pool])
            n_full = _length(rows) - _length(rows) % options.batch_size
            for start in range(0, n_full, options.batch_size):
                yield _cut(rows, slice(start, start + options.batch_size))
            left = _cut(rows, slice(n_full, None))
        if left is not None and _length(left):
            yield left

    def _pools(self, random: np.random.Generator, *, part: int, n_parts: int) -> Iterator[Rows]:
        options = self._options
        if options.shuffle == "global":
            return rows_everywhere(
                self._shards,
                self._names,
                random=random,
                skip_added=options.skip_added,
                n_rows=options.batch_size,
                share=slice(part, None, n_parts),
            )
        return rows_of_mixed_shards(
            self._shards,
            self._names,
            random=random if options.shuffle else None,
            skip_added=options.skip_added,
            n_mixed=options.n_mixed if options.shuffle else 1,
            share=slice(part, None, n_parts),
        )

    def _as_batch(self, rows: Rows) -> Any:
        found = {name: _as_torch(values) for name, values in rows.items()}
        return found[self._names[0]] if self._options.is_single else found


def _length(rows: Rows) -> int:
    return len(next(iter(rows.values())))


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cut(rows: Rows, at: slice) -> Rows:
    return {name: values[at] for name, values in rows.items()}


def _as_torch(batch: Any) -> Any:
    copy = np.array(batch)
    try:
        import torch
    except ImportError:
        return copy
    return torch.from_numpy(copy)
