"""Where the shards of a harvest are on this machine: in a folder, fetched when they are first needed, checked as they come."""

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
"""Saves an artifact of the run as a file."""

_BLOCK_BYTES = 1 << 20


class ShardFiles:
    """The files of one harvest's shards.

    Args:
        shards: of the manifest.
        folder: where they are kept; None: in a temporary one that goes with this object.
        fetch: gets one that is not there yet; None: nothing can be fetched.
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
        """A shard's file, fetched now if need be.

        Raises:
            UnexpectedAnswerError: what came is not what the manifest says.
            FileNotFoundError: it is not there, and nothing can be fetched.
        """
        shard = self._shards[number]
        path = target_of(self.folder, shard.path)
        if self._is_there(path, shard):
            return path
        if self._fetch is None:
            raise FileNotFoundError(f"expected a whole shard {path}: the harvest was opened from this folder alone")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fetch(shard.path, path)
        check_shard(path, shard)
        return path

    def has(self, number: int) -> bool:
        """Whether a shard's file is there already."""
        shard = self._shards[number]
        return self._is_there(target_of(self.folder, shard.path), shard)

    def close(self) -> None:
        """Deletes the folder if it is temporary; arrays already taken stay valid."""
        if self._delete is not None:
            self._delete()

    def _is_there(self, path: Path, shard: HarvestShard) -> bool:
        # Files come whole under their name or not at all, and are checked then: the size tells one harvest from another.
        return path.is_file() and path.stat().st_size == shard.n_bytes


def target_of(folder: Path, path: str) -> Path:
    """Where an artifact goes under a folder; UnexpectedAnswerError when that is outside it."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise UnexpectedAnswerError(f"expected paths inside the harvest's folder, got {path!r}")
    return folder.joinpath(*parts)


def check_shard(path: Path, shard: HarvestShard) -> None:
    """Raises UnexpectedAnswerError, and removes the file, unless it holds what the manifest says."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != shard.sha256.removeprefix("sha256:"):
        path.unlink()
        raise UnexpectedAnswerError(
            f"expected shard {shard.path} with the hash {shard.sha256}, got {digest.hexdigest()}"
        )
