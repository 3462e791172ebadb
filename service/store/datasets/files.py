"""Datasets as artifacts: one folder a dataset, one file a split, one line a record.

datasets/{quoted name}/manifest.json                     the commit, with the dataset's facts
datasets/{quoted name}/_0f3a9c1b22d4e577_train.jsonl     {"index":12,"record":{…}}
"""

from __future__ import annotations

import heapq
import json
import logging
from collections.abc import Container, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from urllib.parse import quote, unquote

from promptatlas.types import Split

from service.errors import DamagedArtifact
from service.store.artifacts.store import MANIFEST, Artifact, ArtifactStore
from service.store.datasets.importer import file_of
from service.store.datasets.items import DatasetInfo, StoredRecord

_FOLDER = "datasets"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StoredDataset:
    """A dataset that lies in the store."""

    artifact: Artifact
    info: DatasetInfo


class DatasetFiles:
    """Reads and writes the datasets in an artifact store; keeps nothing in memory."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def names(self) -> list[str]:
        """Names that have a folder, sorted; not all of them are committed."""
        return sorted(unquote(entry) for entry in self._artifacts.names(_FOLDER))

    def find(self, name: str) -> StoredDataset | None:
        """The dataset of that name, None if there is none; DamagedArtifact when its manifest is not what was stored."""
        artifact = self._artifacts.get(_folder_of(name), label=_label_of(name))
        if artifact is None or artifact.retired:
            return None
        return StoredDataset(artifact=artifact, info=DatasetInfo.from_json(artifact.metadata, label=artifact.label))

    def create(self, info: DatasetInfo, *, paths: Mapping[str, Path]) -> None:
        """Store a dataset. paths: of its splits' files. Conflict when there is one of that name."""
        self._artifacts.create(
            _folder_of(info.name), label=_label_of(info.name), files=dict(paths), metadata=info.to_json()
        )

    def replace(self, info: DatasetInfo, *, paths: Mapping[str, Path]) -> None:
        """Store a dataset over whatever is there, sound or not."""
        self._artifacts.replace(
            _folder_of(info.name), label=_label_of(info.name), files=dict(paths), metadata=info.to_json()
        )

    def remove(self, name: str) -> bool:
        """Remove a dataset, sound or not; False when there is none."""
        folder, label = _folder_of(name), _label_of(name)
        try:
            artifact = self._artifacts.get(folder, label=label)
        except DamagedArtifact:
            # What a broken manifest named cannot be known; the sweep finds it once the manifest is gone.
            artifact = Artifact(folder=folder, label=label, files={})
        if artifact is None:
            return False
        # In this order a new dataset may be stored under the name at any moment; retiring would close it for good.
        self._artifacts.remove_record(f"{folder}/{MANIFEST}")
        self._artifacts.discard_files(artifact)
        return True

    def is_intact(self, dataset: StoredDataset) -> bool:
        """Whether every file is what was stored; reads them all."""
        try:
            for name in dataset.artifact.files:
                with closing(self._artifacts.open(dataset.artifact, name)) as stream:
                    while stream.read(1 << 20):
                        pass
        except DamagedArtifact as error:
            _log.warning("to be mended: %s", error.detail)
            return False
        return True

    def records(
        self, dataset: StoredDataset, *, split: Split | None, wanted: Container[int] | None = None
    ) -> Iterator[StoredRecord]:
        """Records in order.

        Args:
            split: None: of all splits.
            wanted: which of these to give, counted from 0; None: all. Files are read, and so checked, to their ends.

        Raises:
            DamagedArtifact: while reading, when a file is not what was stored.
        """
        if split is not None:
            yield from self._split(dataset, split, wanted=wanted)
            return
        splits = [self._split(dataset, each) for each, n in dataset.info.splits.items() if n]
        for record in heapq.merge(*splits, key=attrgetter("index")):
            if wanted is None or record.index in wanted:
                yield record

    def _split(
        self, dataset: StoredDataset, split: Split, *, wanted: Container[int] | None = None
    ) -> Iterator[StoredRecord]:
        if not dataset.info.splits.get(split):
            return
        with closing(self._artifacts.open(dataset.artifact, file_of(split))) as stream:
            for position, line in enumerate(stream):
                if wanted is None or position in wanted:
                    yield _record_in(line, split=split, label=dataset.artifact.label)


def _record_in(line: bytes, *, split: Split, label: str) -> StoredRecord:
    try:
        found = json.loads(line)
        return StoredRecord(index=found["index"], split=split, fields=found["record"])
    except (ValueError, KeyError, TypeError):
        raise DamagedArtifact(f"{label} is damaged: a line of its {split} split cannot be read.") from None


def _folder_of(name: str) -> str:
    return f"{_FOLDER}/{quote(name, safe='')}"


def _label_of(name: str) -> str:
    return f"dataset {name}"
