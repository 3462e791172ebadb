"""Uploads that are too large for memory: the body in a temporary file, hashed while it is read."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request

from service.store.datasets.importer import disk_errors_as_unavailable

_IN_MEMORY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A body that was read. file: at its start; the owner closes it. sha256: of its bytes."""

    file: BinaryIO
    sha256: bytes
    n_bytes: int


async def read_upload(request: Request) -> Upload:
    """Read the body: up to 1 MiB in memory, a longer one into an unnamed temporary file.

    Raises:
        Unavailable: the temporary file cannot be written.
    """
    writer = _UploadWriter()
    try:
        pending = bytearray()
        async for chunk in request.stream():
            pending += chunk
            if len(pending) >= _IN_MEMORY_BYTES:
                await asyncio.to_thread(writer.write, bytes(pending))
                pending.clear()
        await asyncio.to_thread(writer.write, bytes(pending))
        return writer.finish()
    except BaseException:
        writer.close()
        raise


class _UploadWriter:
    """Writes and hashes a body while it arrives."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._n_bytes += len(data)
        with disk_errors_as_unavailable():
            self._file.write(data)

    def finish(self) -> Upload:
        with disk_errors_as_unavailable():
            self._file.seek(0)
        return Upload(file=cast(BinaryIO, self._file), sha256=self._sha256.digest(), n_bytes=self._n_bytes)

    def close(self) -> None:
        self._file.close()
