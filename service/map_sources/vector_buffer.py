"""Buffer of vectors that grows block by block: in memory up to a limit, in a temporary file beyond it."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class VectorBuffer:
    """Takes blocks `[n, d]` float32. Close it, or use it as a context manager.

    Args:
        memory_bytes: of rows in memory; beyond that all rows are in an unnamed temporary file.
    """

    def __init__(self, d: int, *, memory_bytes: int) -> None:
        self._d = d
        self._memory_bytes = memory_bytes
        self._blocks: list[Floats] = []
        self._file: IO[bytes] | None = None
        self.n_rows = 0

    @property
    def n_bytes(self) -> int:
        """Size of all rows."""
        return self.n_rows * self._d * 4

    @property
    def is_on_disk(self) -> bool:
        """Whether the rows have exceeded ``memory_bytes``."""
        return self._file is not None

    def add(self, block: Floats) -> None:
        """Copy a block; ValueError for rows of another width."""
        if block.ndim != 2 or block.shape[1] != self._d:
            raise ValueError(f"expected rows of {self._d} values, got a block of shape {list(block.shape)}")
        self.n_rows += len(block)
        if self._file is None and self.n_bytes > self._memory_bytes:
            self._file = tempfile.TemporaryFile(prefix="promptatlas-map-")  # noqa: SIM115 (closed with the buffer)
            for kept in self._blocks:
                self._write(kept)
            self._blocks = []
        if self._file is None:
            self._blocks.append(np.array(block, dtype=np.float32))
        else:
            self._write(block)

    def rows(self) -> Floats:
        """All rows `[n, d]`, read-only; a memory map of the file if they are on disk."""
        if self._file is None:
            if len(self._blocks) != 1:
                self._blocks = [np.concatenate(self._blocks) if self._blocks else np.zeros((0, self._d), np.float32)]
            return self._blocks[0]
        self._file.flush()
        return np.memmap(self._file, dtype=np.float32, mode="r", shape=(self.n_rows, self._d))

    def close(self) -> None:
        """Free memory and file; calling it twice is fine."""
        self._blocks = []
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> VectorBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, block: Floats) -> None:
        assert self._file is not None
        self._file.write(np.ascontiguousarray(block, dtype=np.float32).data)
