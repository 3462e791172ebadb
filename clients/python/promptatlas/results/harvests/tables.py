"""Harvests as Hugging Face datasets, which are built from Arrow tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from promptatlas.results.harvests.shards import COLUMNS, TEXTS, Shard, Shards
from promptatlas.results.optional import import_optional
from promptatlas.results.tensors.tensor_file import Array

if TYPE_CHECKING:
    import datasets


def dataset_of(shards: Shards, names: Sequence[str]) -> datasets.Dataset:
    """A dataset with the columns of all rows and these tensors. Rows of several dimensions are flattened.

    Raises:
        ImportError: datasets is not installed.
    """
    hub = import_optional("datasets", extra="hub")
    tables = [hub.table.InMemoryTable(_table(shards.shard(number), names)) for number in range(shards.n_shards)]
    joined: datasets.Dataset = hub.concatenate_datasets([hub.Dataset(table) for table in tables])
    return joined


def _table(shard: Shard, names: Sequence[str]) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = shard.column(name)
        if values is not None:
            columns[name] = pa.array(values, type=pa.string() if name in TEXTS else None)
    for name in names:
        columns[name] = _lists(shard.states(name))
    return pa.table(columns)


def _lists(states: Array) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(states).reshape(-1))
    return flat if states.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, math.prod(states.shape[1:]))
