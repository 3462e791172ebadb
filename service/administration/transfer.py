"""Copying of one file between stores, in blocks."""

from __future__ import annotations

import shutil

from service.store.files.failures import os_errors_as_unavailable
from service.store.files.files import BLOCK_BYTES, Digest, Files
from service.store.locked_folders import scratch_folder


def copy_file(source: Files, target: Files, *, key: str, to: str | None = None) -> Digest:
    """Copy a file that does not change meanwhile, atomically.

    Args:
        source, target: Where it is, and where it is copied to; they may be the same.
        key: Of the file.
        to: Key of the copy; None: the same key.

    Returns:
        Digest of what was copied.

    Raises:
        FileNotFoundError: The file does not exist.
        Unavailable: Source, target, or the folder for temporary files failed.
    """
    path = source.local_path(key)
    with os_errors_as_unavailable("read"):
        if path is not None:
            return target.put_file(to or key, path)
        # Drivers of remote filesystems upload local files.
        with scratch_folder() as folder:
            local = folder / "content"
            with source.open(key) as reader, local.open("wb") as writer:
                shutil.copyfileobj(reader, writer, BLOCK_BYTES)
            return target.put_file(to or key, local)
