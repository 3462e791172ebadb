"""Tensor results on their way from the engine process to a client.

The engine process writes them as safetensors into a file in memory and sends the path; the API process opens the file
and unlinks it at once, so nothing is left whatever happens to the client, and reads it in big slices while it sends.
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
    """Writes results of one engine process into ``folder``; small ones stay in the message."""

    def __init__(self, folder: Path, *, inline_bytes: int = _INLINE_BYTES) -> None:
        self._folder = folder
        self._inline_bytes = inline_bytes
        self._n_written = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def is_small(self, result: Tensors) -> bool:
        """Whether the result travels inside its message."""
        return sum(_n_bytes(tensor) for tensor in result.tensors.values()) < self._inline_bytes

    def write(self, result: Tensors, *, metadata: Mapping[str, Any]) -> StoredResult:
        """Store a result; ``metadata`` is added to the result's own.

        Raises:
            Unavailable: there is no room for it.
        """
        from safetensors.torch import save, save_file

        tensors = _apart(result.tensors)
        header = {METADATA_KEY: json.dumps({**result.metadata, **metadata}, separators=(",", ":"))}
        if self.is_small(result):
            data = save(tensors, metadata=header)
            return StoredResult(n_bytes=len(data), data=data)
        self._n_written += 1
        path = self._folder / f"{self._n_written}.safetensors"
        try:
            save_file(tensors, path, metadata=header)
        except Exception as error:  # safetensors has its own class for a full disk
            path.unlink(missing_ok=True)
            raise Unavailable("The server has no room for a result of this size now.", retry_after_s=5) from error
        return StoredResult(n_bytes=path.stat().st_size, path=str(path))


class OpenResult:
    """A result that belongs to this process alone: its file has no name any more. Close it when sent."""

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
        """Give the memory back; fine to call twice."""
        self._data = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def discard(stored: StoredResult) -> None:
    """Throw away a result that nobody waits for."""
    if stored.path is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(stored.path)


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # safetensors refuses tensors that share memory, as two sites of the same value may.
    storages: set[int] = set()
    apart: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.contiguous()
        address = own.untyped_storage().data_ptr()
        apart[name] = own.clone() if address in storages else own
        storages.add(address)
    return apart


def _n_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
