"""Space of the disk that contains the store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from service.store.files.addresses import local_folder


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """Size of a disk, and the part of it that is free for this user."""

    size_bytes: int
    free_bytes: int


def disk_space(url: str) -> DiskSpace | None:
    """The space of the disk of a store; None for a store that is not on a local disk, or does not exist yet."""
    folder = local_folder(url)
    if folder is None:
        return None
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    return DiskSpace(size_bytes=found.total, free_bytes=found.free)
