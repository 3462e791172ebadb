"""Stale files of crashed writers: temporary files, and artifact contents that no manifest references."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.errors import DamagedArtifact
from service.store.artifacts.manifests import MANIFEST, artifact_from
from service.store.artifacts.settled_folders import SettledFolders, digest_of
from service.store.files.files import TEMPORARY, FileEntry, Files

_CONTENT_NAME = re.compile(r"_[0-9a-f]{16}_.+")


@dataclass
class _Folder:
    """An artifact's folder. old: names of the contents that may be stale. is_young: whether any file is too young to judge."""

    old: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    is_young: bool = False


def stale_keys(
    files: Files, *, entries: Iterable[FileEntry], before_s: float, settled: SettledFolders | None = None
) -> list[str]:
    """Keys of stale files.

    Args:
        files: The filesystem.
        entries: Its files; those to consider.
        before_s: Seconds since 1970; files written later may belong to a running writer.
        settled: Folders in which an earlier call found nothing; their manifests are read only if a file changed. Replaced by
            those of this call, so ``entries`` must be all files. None: all manifests are read.
    """
    stale: list[str] = []
    folders: dict[str, _Folder] = {}
    for entry in entries:
        folder, _, name = entry.key.rpartition("/")
        is_old = entry.modified_s is not None and entry.modified_s < before_s
        if name.startswith(TEMPORARY):
            stale.extend([entry.key] if is_old else ())
        elif name == MANIFEST or _CONTENT_NAME.fullmatch(name):
            found = folders.setdefault(folder, _Folder())
            found.entries.append(f"{name} {entry.modified_s} {entry.n_bytes}")
            found.is_young |= not is_old
            if is_old and name != MANIFEST:
                found.old.append(name)
    with_contents = {folder: found for folder, found in folders.items() if found.old}
    return stale + _orphans(files, with_contents, settled=settled)


def _orphans(files: Files, folders: Mapping[str, _Folder], *, settled: SettledFolders | None) -> list[str]:
    """Contents that no manifest references."""
    known = frozenset() if settled is None else settled.read()
    digests = {} if settled is None else {name: digest_of(name, found.entries) for name, found in folders.items()}
    kept = {name for name, digest in digests.items() if digest in known}
    referenced = _referenced(files, [name for name in folders if name not in kept])
    orphans: list[str] = []
    for folder, names in referenced.items():
        found = folders[folder]
        # The files of a damaged manifest are unknown, so all are kept for a repair.
        left = [] if names is None else [name for name in found.old if name not in names]
        orphans.extend(f"{folder}/{name}" for name in left)
        if names is not None and not left and not found.is_young:
            kept.add(folder)
    if settled is not None:
        settled.write([digests[folder] for folder in kept])
    return orphans


def _referenced(files: Files, folders: Iterable[str]) -> dict[str, frozenset[str] | None]:
    """Names that the manifest of each folder references: none without one, None if it is damaged."""
    found: dict[str, frozenset[str] | None] = {folder: frozenset() for folder in folders}
    for key, data in files.read_many({f"{folder}/{MANIFEST}" for folder in found}).items():
        folder = key.rpartition("/")[0]
        try:
            artifact = artifact_from(data, folder=folder, label="")
        except DamagedArtifact:
            found[folder] = None
            continue
        if not artifact.retired:
            found[folder] = frozenset(stored.key for stored in artifact.files.values())
    return found
