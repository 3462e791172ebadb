"""File formats of shards: safetensors and Parquet. Writing is deterministic."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from promptatlas.types.harvest import ShardFormat

from service.engine.shapes import Tensor
from service.store.artifacts.tensor_codec import METADATA_KEY
from service.store.maps.points import TextColumn
from workers.harvest.shards.table import ShardTable

if TYPE_CHECKING:
    import pyarrow

MAX_DICTIONARY_BYTES = 1 << 30

Write = Callable[[ShardTable, Path], None]


def write_safetensors(table: ShardTable, path: Path) -> None:
    """Write states and numeric columns as tensors, and each text column as three tensors, see ``service.store.maps.points``."""
    columns = dict(table.numbers)
    for name, column in table.texts.items():
        columns |= column.tensors(name)
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in columns.items()}
    tensors |= {name: rows.contiguous() for name, rows in table.tensors.items()}
    # A single entry, because the library writes several entries in an order that differs between processes.
    safetensors.torch.save_file(tensors, path, metadata={METADATA_KEY: _header_text(table)})


def write_parquet(table: ShardTable, path: Path) -> None:
    """Write states as fixed-size list columns with flattened rows, and texts as dictionary columns.

    Raises:
        ValueError: A tensor is bfloat16, which Parquet does not have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pyarrow.Array] = {name: pa.array(values) for name, values in table.numbers.items()}
    columns |= {name: _dictionary(column) for name, column in table.texts.items()}
    columns |= {name: _lists(rows) for name, rows in table.tensors.items()}
    schema = pa.schema(
        [(name, values.type) for name, values in columns.items()], metadata={METADATA_KEY: _header_text(table)}
    )
    pq.write_table(
        pa.table(list(columns.values()), schema=schema),
        path,
        # Floating-point states do not compress.
        compression=dict.fromkeys((*table.texts, *table.numbers), "zstd"),
        use_dictionary=list(table.texts),
        dictionary_pagesize_limit=MAX_DICTIONARY_BYTES,
        write_statistics=[*table.numbers],
    )


WRITERS: Mapping[ShardFormat, Write] = {"safetensors": write_safetensors, "parquet": write_parquet}


def _header_text(table: ShardTable) -> str:
    return json.dumps(dict(table.header), sort_keys=True)


def _dictionary(column: TextColumn) -> Any:
    import pyarrow as pa

    values = [value.encode("utf-8", "replace").decode() for value in column.values]
    codes = pa.array(column.codes, mask=column.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(values, type=pa.string()))


def _lists(rows: Tensor) -> Any:
    import pyarrow as pa

    if rows.dtype == torch.bfloat16:
        raise ValueError("Parquet has no bfloat16")
    flat = pa.array(rows.contiguous().view(-1).numpy())
    return flat if rows.dim() == 1 else pa.FixedSizeListArray.from_arrays(flat, math.prod(rows.shape[1:]))
