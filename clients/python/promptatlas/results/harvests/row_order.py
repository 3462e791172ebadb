"""The rows of a harvest in an order: shard by shard, mixed among some shards, or in one random order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from promptatlas.results.harvests.shards import Shard, Shards
from promptatlas.results.tensors.tensor_file import Array

Rows = Mapping[str, Array]
"""Rows `[n, …]` of each tensor, which belong to the same tokens or texts."""


def rows_of_mixed_shards(
    shards: Shards,
    names: Sequence[str],
    *,
    random: np.random.Generator | None,
    skip_added: bool,
    n_mixed: int,
    share: slice,
) -> Iterator[Rows]:
    """The rows of ``n_mixed`` shards at a time.

    Args:
        random: for the order of the shards and of the rows; None: in order.
        share: of the shards, in this order.
    """
    order = np.arange(shards.n_shards)
    if random is not None:
        random.shuffle(order)
    chosen = order[share]
    for start in range(0, len(chosen), n_mixed):
        parts = [_rows(shards.shard(int(number)), names, skip_added) for number in chosen[start : start + n_mixed]]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in names}
        if random is not None:
            shuffled = random.permutation(len(rows[names[0]]))
            rows = {name: values[shuffled] for name, values in rows.items()}
        yield rows


def rows_everywhere(
    shards: Shards,
    names: Sequence[str],
    *,
    random: np.random.Generator,
    skip_added: bool,
    n_rows: int,
    share: slice,
) -> Iterator[Rows]:
    """All rows in one random order, ``n_rows`` at a time. Needs 8 bytes of memory for each row.

    Args:
        share: of the order.
    """
    opened = [shards.shard(number) for number in range(shards.n_shards)]
    kept = [_kept(shard, names, skip_added) for shard in opened]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in kept])]).astype(np.int64)
    order = random.permutation(starts[-1])[share]
    for start in range(0, len(order), n_rows):
        yield _gathered(opened, names, kept=kept, starts=starts, wanted=order[start : start + n_rows])


def _gathered(
    opened: Sequence[Shard],
    names: Sequence[str],
    *,
    kept: Sequence[npt.NDArray[np.int64]],
    starts: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
) -> Rows:
    """The wanted rows in their order. Each shard is read once, in ascending order of its rows."""
    owners = np.searchsorted(starts, wanted, side="right") - 1
    rows: dict[str, Array] = {}
    for number in np.unique(owners):
        at = np.flatnonzero(owners == number)
        own = kept[number][wanted[at] - starts[number]]
        ascending = np.argsort(own)
        for name in names:
            values = opened[number].states(name)
            if name not in rows:
                rows[name] = np.empty((len(wanted), *values.shape[1:]), dtype=values.dtype)
            rows[name][at[ascending]] = values[own[ascending]]
    return rows


def _rows(shard: Shard, names: Sequence[str], skip_added: bool) -> Rows:
    rows = {name: shard.states(name) for name in names}
    added = shard.column("added") if skip_added else None
    return rows if added is None else {name: values[~added.astype(bool)] for name, values in rows.items()}


def _kept(shard: Shard, names: Sequence[str], skip_added: bool) -> npt.NDArray[np.int64]:
    added = shard.column("added") if skip_added else None
    if added is None:
        return np.arange(len(shard.states(names[0])), dtype=np.int64)
    return np.flatnonzero(~added.astype(bool)).astype(np.int64)
