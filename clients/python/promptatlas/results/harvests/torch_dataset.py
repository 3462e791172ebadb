"""Batches of a harvest as a dataset of torch. Imported only where torch is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import IterableDataset, get_worker_info


class Epochs(Protocol):
    """An ``ActivationsStore``."""

    def epoch(self, number: int, *, part: int, n_parts: int) -> Iterator[Any]: ...


class StoreDataset(IterableDataset[Any]):
    """See ``ActivationsStore.torch_dataset``."""

    def __init__(self, store: Epochs, *, rank: int, world_size: int) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to {world_size - 1}, got {rank}")
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Select the order of the next epoch. Workers of a loader copy this object, so they cannot count epochs."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, n_workers = (0, 1) if info is None else (info.id, info.num_workers)
        part = self._rank * n_workers + worker
        return self._store.epoch(self._epoch, part=part, n_parts=self._world_size * n_workers)
