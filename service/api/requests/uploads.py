"""Bodies that are too large for memory: read into a temporary file and hashed on the way."""

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
class Spooled:
    """A body that has been read. file: at its beginning; whoever has it closes it. sha256: of its bytes."""

    file: BinaryIO
    sha256: bytes
    n_bytes: int


async def spool(request: Request) -> Spooled:
    """Read the body; up to a mebibyte of it is in memory, the rest in a file without a name.

    Raises:
        Unavailable: the disk for temporary files refused it.
    """
    spooling = _Spooling()
    try:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _IN_MEMORY_BYTES:
                await asyncio.to_thread(spooling.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(spooling.write, bytes(waiting))
        return spooling.finish()
    except BaseException:
        spooling.close()
        raise


class _Spooling:
    """A body that is being read."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._n_bytes += len(data)
        with disk_errors_as_unavailable():
            self._file.write(data)

    def finish(self) -> Spooled:
        with disk_errors_as_unavailable():
            self._file.seek(0)
        return Spooled(file=cast(BinaryIO, self._file), sha256=self._sha256.digest(), n_bytes=self._n_bytes)

    def close(self) -> None:
        self._file.close()
