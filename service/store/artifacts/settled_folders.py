"""Folders of artifacts in which a sweep found nothing to remove, so that the next sweep reads no manifest of them."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

_DIGEST_BYTES: Final = 16
_HEADER: Final = b"settled folders 1\n"


class SettledFolders:
    """A file of this host with a digest for each settled folder.

    It is a cache: without it, or if it is damaged, a sweep reads all manifests.

    Args:
        path: of the file; its folder is created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> frozenset[bytes]:
        """The digests; empty if there is no intact file."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return frozenset()
        checksum, body = data[len(_HEADER) :][:32], data[len(_HEADER) + 32 :]
        if not data.startswith(_HEADER) or hashlib.sha256(body).digest() != checksum:
            return frozenset()
        return frozenset(body[i : i + _DIGEST_BYTES] for i in range(0, len(body), _DIGEST_BYTES))

    def write(self, digests: Collection[bytes]) -> None:
        """Replace the digests. Failures are ignored."""
        body = b"".join(sorted(digests))
        scratch = self._path.with_name(f".{self._path.name}-{secrets.token_hex(4)}")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                scratch.write_bytes(_HEADER + hashlib.sha256(body).digest() + body)
                os.replace(scratch, self._path)
            finally:
                scratch.unlink(missing_ok=True)


def digest_of(folder: str, entries: Collection[str]) -> bytes:
    """Digest of a folder and its entries, in any order."""
    lines = "\n".join((folder, *sorted(entries)))
    return hashlib.blake2b(lines.encode(), digest_size=_DIGEST_BYTES).digest()
