"""Space of the disk that contains the store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """Size of a disk, and the part of it that is free for this user."""

    size_bytes: int
    free_bytes: int


def disk_space(url: str) -> DiskSpace | None:
    """The space of the disk of a store; None for a store that is not on a local disk, or does not exist yet."""
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
        if not isinstance(filesystem, LocalFileSystem):
            return None
        found = shutil.disk_usage(Path(root))
    except (OSError, ValueError, ImportError):
        return None
    return DiskSpace(size_bytes=found.total, free_bytes=found.free)
