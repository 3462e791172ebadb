"""Shards of a harvest on disk, in safetensors or Parquet with the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.optional import import_optional
from promptatlas.results.tensors.tensor_file import Array, TensorFile
from promptatlas.results.tensors.text_columns import text_column

if TYPE_CHECKING:
    import pyarrow

TEXTS = ("split", "task", "text", "token")
NUMBERS = ("text_index", "record", "position", "token_id", "added")
COLUMNS = (*NUMBERS[:2], *TEXTS[:3], *NUMBERS[2:], TEXTS[3])
"""Columns that describe a row, in the order of a table."""


class Shard(Protocol):
    """The rows of consecutive texts."""

    def states(self, name: str) -> Array:
        """A tensor `[n_rows, …]`; bfloat16 is converted to float32, which is exact."""

    def column(self, name: str) -> Array | None:
        """A column `[n_rows]` of numbers, or of texts and None. None if the shard has no such column."""


class Shards(Protocol):
    """The shards of a harvest."""

    @property
    def n_shards(self) -> int: ...

    def shard(self, number: int) -> Shard:
        """One shard."""

    def shape(self, name: str, /) -> tuple[int, ...]:
        """The shape of a tensor over all shards."""


class SafetensorsShard:
    """A shard in safetensors. Tensors are memory-mapped on access."""

    def __init__(self, path: Path) -> None:
        self._file = TensorFile(path, temporary=False)

    def states(self, name: str) -> Array:
        """A tensor, read-only."""
        return self._file.array(name)

    def column(self, name: str) -> Array | None:
        """A column."""
        if name not in self._file.names:
            return None
        try:
            return text_column(self._file, name) if name in TEXTS else np.asarray(self._file.array(name))
        except (KeyError, ValueError, IndexError) as error:
            raise UnexpectedAnswerError(
                f"expected a column {name!r} of texts in {self._file.path.name}: {error}"
            ) from error


class ParquetShard:
    """A shard in Parquet. Requires pyarrow.

    Args:
        shapes: shape of a row of each tensor; Parquet stores rows flattened.
    """

    def __init__(self, path: Path, *, shapes: Mapping[str, Sequence[int]]) -> None:
        self._parquet = import_optional("pyarrow.parquet", extra="hub").ParquetFile(path, memory_map=True)
        self._shapes = shapes

    def states(self, name: str) -> Array:
        """A tensor."""
        column = self._read(name)
        flat = column if not self._shapes[name] else column.flatten()
        values: Array = flat.to_numpy(zero_copy_only=False)
        return values.reshape(-1, *self._shapes[name])

    def column(self, name: str) -> Array | None:
        """A column."""
        if name not in self._parquet.schema_arrow.names:
            return None
        values: Array = self._read(name).to_numpy(zero_copy_only=False)
        return values

    def _read(self, name: str) -> pyarrow.Array:
        return self._parquet.read(columns=[name]).column(0).combine_chunks()


def open_shard(path: Path, *, shapes: Mapping[str, Sequence[int]]) -> Shard:
    """The shard in a file, whose suffix is its format. Raises ImportError for Parquet without pyarrow."""
    return ParquetShard(path, shapes=shapes) if path.suffix == ".parquet" else SafetensorsShard(path)
