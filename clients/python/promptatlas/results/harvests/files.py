"""Local files of the shards of a harvest: fetched on first use, and validated."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.types import HarvestShard

Fetch = Callable[[str, Path], object]
"""Downloads an artifact of the run to a file."""

_BLOCK_BYTES = 1 << 20


class ShardFiles:
    """The files of one harvest's shards.

    Args:
        shards: entries of the manifest.
        folder: where the files are kept; None: a temporary folder, deleted with this object.
        fetch: downloads a missing file; None: missing files are an error.
    """

    def __init__(self, shards: Sequence[HarvestShard], *, folder: Path | None, fetch: Fetch | None) -> None:
        self._shards = shards
        self._fetch = fetch
        self._delete: weakref.finalize[[str], ShardFiles] | None = None
        if folder is None:
            name = tempfile.mkdtemp(prefix="promptatlas-harvest-")
            self._delete = weakref.finalize(self, shutil.rmtree, name, ignore_errors=True)
            folder = Path(name)
        self.folder = folder

    def path(self, number: int) -> Path:
        """The file of a shard, which is fetched if it is missing.

        Raises:
            UnexpectedAnswerError: the fetched file does not match the manifest.
            FileNotFoundError: the file is missing and cannot be fetched.
        """
        shard = self._shards[number]
        path = target_of(self.folder, shard.path)
        if self._exists(path, shard):
            return path
        if self._fetch is None:
            raise FileNotFoundError(f"expected a complete shard {path}: the harvest was opened from this folder alone")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fetch(shard.path, path)
        check_shard(path, shard)
        return path

    def has(self, number: int) -> bool:
        """Whether the file of a shard exists."""
        shard = self._shards[number]
        return self._exists(target_of(self.folder, shard.path), shard)

    def close(self) -> None:
        """Deletes the folder if it is temporary. Arrays read before stay valid."""
        if self._delete is not None:
            self._delete()

    def _exists(self, path: Path, shard: HarvestShard) -> bool:
        # A file appears only once it is complete, and is validated then. The size detects files of another harvest.
        return path.is_file() and path.stat().st_size == shard.n_bytes


def target_of(folder: Path, path: str) -> Path:
    """The path of an artifact under a folder. Raises UnexpectedAnswerError if it leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise UnexpectedAnswerError(f"expected paths inside the harvest's folder, got {path!r}")
    return folder.joinpath(*parts)


def check_shard(path: Path, shard: HarvestShard) -> None:
    """Validates the hash of a file. Deletes the file and raises UnexpectedAnswerError if it differs from the manifest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != shard.sha256.removeprefix("sha256:"):
        path.unlink()
        raise UnexpectedAnswerError(
            f"expected shard {shard.path} with the hash {shard.sha256}, got {digest.hexdigest()}"
        )
