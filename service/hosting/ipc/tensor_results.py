"""Tensor results, passed from the engine process to the API process as files in memory.

The engine process writes a safetensors file and sends its path. The API process opens the file and unlinks it at once, so
that no file remains if the client disconnects, and reads it in large slices while it sends the response.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import Unavailable
from service.hosting.ipc.messages import StoredResult

if TYPE_CHECKING:
    import torch

    from service.engine.requests import Tensors

METADATA_KEY = "promptatlas"
CHUNK_BYTES = 1 << 20
_INLINE_BYTES = 256 << 10


class ResultWriter:
    """Writes results of one engine process into ``folder``; small ones are sent inside their message."""

    def __init__(self, folder: Path, *, inline_bytes: int = _INLINE_BYTES) -> None:
        self._folder = folder
        self._inline_bytes = inline_bytes
        self._n_written = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def is_small(self, result: Tensors) -> bool:
        """Whether the result is sent inside its message."""
        return sum(_n_bytes(tensor) for tensor in result.tensors.values()) < self._inline_bytes

    def write(self, result: Tensors, *, metadata: Mapping[str, Any]) -> StoredResult:
        """Write a result; ``metadata`` is added to the result's own metadata.

        Raises:
            Unavailable: the disk or memory file system is full.
        """
        from safetensors.torch import save, save_file

        tensors = _without_shared_memory(result.tensors)
        header = {METADATA_KEY: json.dumps({**result.metadata, **metadata}, separators=(",", ":"))}
        if self.is_small(result):
            data = save(tensors, metadata=header)
            return StoredResult(n_bytes=len(data), data=data)
        self._n_written += 1
        path = self._folder / f"{self._n_written}.safetensors"
        try:
            save_file(tensors, path, metadata=header)
        except Exception as error:  # safetensors raises its own class for a full disk
            path.unlink(missing_ok=True)
            raise Unavailable(
                "The server has no space for a result of this size at the moment.", retry_after_s=5
            ) from error
        return StoredResult(n_bytes=path.stat().st_size, path=str(path))


class OpenResult:
    """An opened result whose file is already unlinked. Close it after sending."""

    def __init__(self, stored: StoredResult) -> None:
        self.n_bytes = stored.n_bytes
        self._data = stored.data
        self._descriptor: int | None = None
        if stored.path is not None:
            self._descriptor = os.open(stored.path, os.O_RDONLY)
            os.unlink(stored.path)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the safetensors file in slices of at most :data:`CHUNK_BYTES`."""
        for start in range(0, self.n_bytes, CHUNK_BYTES):
            yield self.read(start, n_bytes=CHUNK_BYTES)

    def read(self, start: int, *, n_bytes: int) -> bytes:
        """Up to ``n_bytes`` bytes from ``start``."""
        if self._descriptor is None:
            return (self._data or b"")[start : start + n_bytes]
        return os.pread(self._descriptor, n_bytes, start)

    def close(self) -> None:
        """Release the memory; may be called twice."""
        self._data = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def discard(stored: StoredResult) -> None:
    """Delete a result that has no receiver."""
    if stored.path is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(stored.path)


def _without_shared_memory(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # safetensors refuses tensors that share memory, as those of two sites with the same value may.
    storages: set[int] = set()
    separate: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.contiguous()
        address = own.untyped_storage().data_ptr()
        separate[name] = own.clone() if address in storages else own
        storages.add(address)
    return separate


def _n_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
