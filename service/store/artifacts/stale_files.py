"""Stale files of crashed writers: temporary files, and artifact contents that no manifest references."""

from __future__ import annotations

import re
from collections.abc import Iterable

from service.errors import DamagedArtifact
from service.store.artifacts.manifests import MANIFEST, artifact_from
from service.store.files.files import TEMPORARY, FileEntry, Files

_CONTENT_NAME = re.compile(r"_[0-9a-f]{16}_.+")


def stale_keys(files: Files, *, entries: Iterable[FileEntry], before_s: float) -> list[str]:
    """Keys of stale files.

    Args:
        files: The filesystem.
        entries: Its files; those to consider.
        before_s: Seconds since 1970; files written later may belong to a running writer.
    """
    old = [entry for entry in entries if entry.modified_s is not None and entry.modified_s < before_s]
    stale = [entry.key for entry in old if _name_of(entry.key).startswith(TEMPORARY)]
    return stale + _orphans(files, (entry for entry in old if _CONTENT_NAME.fullmatch(_name_of(entry.key))))


def _orphans(files: Files, contents: Iterable[FileEntry]) -> list[str]:
    keys = [entry.key for entry in contents]
    manifests = files.read_many({f"{_folder_of(key)}/{MANIFEST}" for key in keys})
    referenced: set[str] = set()
    for manifest_key, data in manifests.items():
        folder = _folder_of(manifest_key)
        try:
            artifact = artifact_from(data, folder=folder, label="")
        except DamagedArtifact:
            # The files of a damaged manifest are unknown, so all are kept for a repair.
            referenced.update(key for key in keys if _folder_of(key) == folder)
            continue
        if not artifact.retired:
            referenced.update(f"{folder}/{stored.key}" for stored in artifact.files.values())
    return [key for key in keys if key not in referenced]


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]
