"""Datasets as artifacts: one folder per dataset, one file per split, one line per record.

datasets/{quoted name}/manifest.json                     commit, with the metadata of the dataset
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
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import MANIFEST, Artifact, ArtifactStore
from service.store.datasets.importer import file_of
from service.store.datasets.items import DatasetInfo, StoredRecord
from service.store.index.changes import Changes
from service.store.index.entries import NameEntry

_FOLDER = "datasets"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StoredDataset:
    """A dataset in the store."""

    artifact: Artifact
    info: DatasetInfo


class DatasetFiles:
    """Reads and writes datasets in an artifact store; stateless."""

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._changes = Changes(artifacts, clock=clock)

    def names(self) -> list[str]:
        """Names with a folder, sorted; not all are committed."""
        return sorted(unquote(entry) for entry in self._artifacts.names(_FOLDER))

    def find(self, name: str) -> StoredDataset | None:
        """The dataset ``name``, or None; raises DamagedArtifact."""
        artifact = self._artifacts.get(_folder_of(name), label=_label_of(name))
        if artifact is None or artifact.retired:
            return None
        return StoredDataset(artifact=artifact, info=DatasetInfo.from_json(artifact.metadata, label=artifact.label))

    def create(self, info: DatasetInfo, *, paths: Mapping[str, Path]) -> None:
        """Store a dataset; raises Conflict if the name exists. paths: local files of the splits."""
        # Before the dataset exists, so that no crash leaves one that an index does not know.
        self._changes.note(NameEntry(noun="dataset", name=info.name))
        self._artifacts.create(
            _folder_of(info.name), label=_label_of(info.name), files=dict(paths), metadata=info.to_json()
        )

    def replace(self, info: DatasetInfo, *, paths: Mapping[str, Path]) -> None:
        """Store a dataset, replacing an existing one, even if that is damaged."""
        self._artifacts.replace(
            _folder_of(info.name), label=_label_of(info.name), files=dict(paths), metadata=info.to_json()
        )

    def remove(self, name: str) -> bool:
        """Remove a dataset, even if it is damaged; returns False if it does not exist."""
        folder, label = _folder_of(name), _label_of(name)
        try:
            artifact = self._artifacts.get(folder, label=label)
        except DamagedArtifact:
            # The files of a damaged manifest are unknown; ``sweep`` removes them after the manifest is gone.
            artifact = Artifact(folder=folder, label=label, files={})
        if artifact is None:
            return False
        # Removed rather than retired, so that a new dataset can be stored under the name.
        self._artifacts.remove_record(f"{folder}/{MANIFEST}")
        self._artifacts.discard_files(artifact)
        return True

    def is_intact(self, dataset: StoredDataset) -> bool:
        """Whether all files are intact; reads all of them."""
        try:
            for name in dataset.artifact.files:
                with closing(self._artifacts.open(dataset.artifact, name)) as stream:
                    while stream.read(1 << 20):
                        pass
        except DamagedArtifact as error:
            _log.warning("damaged dataset will be replaced: %s", error.detail)
            return False
        return True

    def records(
        self, dataset: StoredDataset, *, split: Split | None, wanted: Container[int] | None = None
    ) -> Iterator[StoredRecord]:
        """Records in order.

        Args:
            split: One split; None: all splits.
            wanted: Positions of the records to return, from 0; None: all. Files are always read to their end, which
                verifies them.

        Raises:
            DamagedArtifact: While reading, if a file is damaged.
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
