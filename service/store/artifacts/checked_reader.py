"""Reader that verifies the hash of an artifact's file while streaming it."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from service.errors import DamagedArtifact
from service.store.artifacts.manifests import StoredFile


class CheckedReader(io.RawIOBase):
    """Reads ``file`` and raises DamagedArtifact before the last bytes are returned if size or hash do not match.

    Args:
        file: Positioned at its beginning; closed together with this reader.
        stored: Entry of the file in the manifest.
        name: Name of the file, for the error message.
        label: Label of the artifact, for the error message.
    """

    def __init__(self, file: io.RawIOBase, *, stored: StoredFile, name: str, label: str) -> None:
        self._file = file
        self._stored = stored
        self._name = name
        self._label = label
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n_left = self._stored.n_bytes - self._n_bytes
        data = (self._file.read(min(len(buffer), n_left)) if n_left else None) or b""
        self._sha256.update(data)
        self._n_bytes += len(data)
        if n_left and not data:
            raise self._damaged(f"should have {self._stored.n_bytes} bytes, it has {self._n_bytes}")
        if len(data) == n_left:
            self._check_end()
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _check_end(self) -> None:
        if self._file.read(1):
            raise self._damaged(f"should have {self._stored.n_bytes} bytes, it has more")
        if self._sha256.hexdigest() != self._stored.sha256:
            raise DamagedArtifact(f"{self._label} is damaged: the bytes of {self._name} do not match their hash.")

    def _damaged(self, what: str) -> DamagedArtifact:
        return DamagedArtifact(f"{self._label} is damaged: {self._name} {what}.")
