"""Commit of an imported dataset: stored under its name, unless the name has other records."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from service.errors import Busy, Conflict, DamagedArtifact
from service.store.datasets.files import DatasetFiles
from service.store.datasets.items import DatasetInfo

_MAX_ATTEMPTS = 100


def commit_dataset(files: DatasetFiles, info: DatasetInfo, *, paths: Mapping[str, Path]) -> tuple[DatasetInfo, bool]:
    """Store a dataset, or return the existing one with the same records. A damaged one is replaced.

    Args:
        paths: Local files by name.

    Returns:
        The metadata, and whether the dataset is new.

    Raises:
        Conflict: The name has other records, or these with another template.
        Busy: Other writers replace the dataset all the time.
    """
    for _ in range(_MAX_ATTEMPTS):
        try:
            present = files.find(info.name)
        except DamagedArtifact:
            files.replace(info, paths=paths)
            return info, True
        if present is None:
            with suppress(Conflict):
                files.create(info, paths=paths)
                return info, True
            continue
        _require_same_dataset(present.info, info)
        if files.is_intact(present):
            return present.info, False
        files.replace(info, paths=paths)
        return info, True
    raise Busy(f"Too many uploads to {info.name!r} at once.", retry_after_s=1.0)


def _require_same_dataset(present: DatasetInfo, info: DatasetInfo) -> None:
    if (present.sha256, present.format) != (info.sha256, info.format):
        raise Conflict(
            f"Dataset {info.name!r} exists with other records; delete it first, or use another name.",
            loc=("name",),
        )
    if present.template != info.template:
        raise Conflict(
            f"Dataset {info.name!r} exists with these records and another template; delete it first, use another "
            "name, or give the template where the dataset is used.",
            loc=("name",),
        )
