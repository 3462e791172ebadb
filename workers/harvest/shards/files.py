"""Shards as files: safetensors, or Parquet. The same table always gives the same bytes."""

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
    """Columns of numbers as tensors beside the states; a column of texts as three, see ``service.store.maps.points``."""
    columns = dict(table.numbers)
    for name, column in table.texts.items():
        columns |= column.tensors(name)
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in columns.items()}
    tensors |= {name: rows.contiguous() for name, rows in table.tensors.items()}
    # One entry: the library writes several in an order that differs from process to process.
    safetensors.torch.save_file(tensors, path, metadata={METADATA_KEY: _header_text(table)})


def write_parquet(table: ShardTable, path: Path) -> None:
    """States as columns of lists of fixed size, row by row flattened; texts as dictionaries.

    Raises:
        ValueError: a tensor's type is none of Parquet's (bfloat16).
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
        # Floats of states do not get smaller.
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
