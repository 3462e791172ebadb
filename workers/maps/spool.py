"""Rows of vectors that are gathered one block after another: in memory while they are few, in a temporary file beyond."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Spool:
    """Takes blocks `[n, d]` float32; to be closed, or used as a context.

    Args:
        memory_bytes: of rows in memory; with more, all of them are in a file without a name.
    """

    def __init__(self, d: int, *, memory_bytes: int) -> None:
        self._d = d
        self._memory_bytes = memory_bytes
        self._blocks: list[Floats] = []
        self._file: IO[bytes] | None = None
        self.n_rows = 0

    @property
    def n_bytes(self) -> int:
        """Of all rows."""
        return self.n_rows * self._d * 4

    @property
    def is_on_disk(self) -> bool:
        """Whether the rows have outgrown the memory they may take."""
        return self._file is not None

    def add(self, block: Floats) -> None:
        """Keep a block; ValueError when its rows have another width."""
        if block.ndim != 2 or block.shape[1] != self._d:
            raise ValueError(f"expected rows of {self._d} values, got a block of shape {list(block.shape)}")
        self.n_rows += len(block)
        if self._file is None and self.n_bytes > self._memory_bytes:
            self._file = tempfile.TemporaryFile(prefix="promptatlas-map-")  # noqa: SIM115 (closed with the spool)
            for kept in self._blocks:
                self._write(kept)
            self._blocks = []
        if self._file is None:
            self._blocks.append(np.array(block, dtype=np.float32))
        else:
            self._write(block)

    def rows(self) -> Floats:
        """All rows `[n, d]`, read from the file as they are needed if they are there; not to be written to."""
        if self._file is None:
            if len(self._blocks) != 1:
                self._blocks = [np.concatenate(self._blocks) if self._blocks else np.zeros((0, self._d), np.float32)]
            return self._blocks[0]
        self._file.flush()
        return np.memmap(self._file, dtype=np.float32, mode="r", shape=(self.n_rows, self._d))

    def close(self) -> None:
        """Give the room back; fine to call twice."""
        self._blocks = []
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, block: Floats) -> None:
        assert self._file is not None
        self._file.write(np.ascontiguousarray(block, dtype=np.float32).data)
