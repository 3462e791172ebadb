"""Shards of a harvest as files on this machine, safetensors or Parquet: the same columns under the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.maps.columns import text_column
from promptatlas.results.tensors.tensor_file import Array, TensorFile

if TYPE_CHECKING:
    import pyarrow

TEXTS = ("split", "task", "text", "token")
NUMBERS = ("text_index", "record", "position", "token_id", "added")
COLUMNS = (*NUMBERS[:2], *TEXTS[:3], *NUMBERS[2:], TEXTS[3])
"""What is known of a row beside its states, in the order in which it is shown."""


class Shard(Protocol):
    """The rows of consecutive texts."""

    def states(self, name: str) -> Array:
        """A tensor `[n_rows, …]`; bfloat16 as float32, which is exact."""

    def column(self, name: str) -> Array | None:
        """What is known of each row: numbers, or texts with None for none; None where the shard has no such column."""


class SafetensorsShard:
    """A shard whose tensors are mapped when they are asked for."""

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
    """A shard in Parquet; needs pyarrow.

    Args:
        shapes: of a row of each tensor, which Parquet keeps flat.
    """

    def __init__(self, path: Path, *, shapes: Mapping[str, Sequence[int]]) -> None:
        self._parquet = _import_parquet().ParquetFile(path, memory_map=True)
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
    """The shard in a file, by how its name ends. ImportError when it is Parquet and pyarrow is not installed."""
    return ParquetShard(path, shapes=shapes) if path.suffix == ".parquet" else SafetensorsShard(path)


def _import_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("expected pyarrow to be installed: pip install 'promptatlas[hub]'") from error
    return pyarrow.parquet
