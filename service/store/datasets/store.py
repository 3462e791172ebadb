"""Store of datasets by name: uploaded, built-in, and from the Hugging Face hub.

Datasets are immutable and stored atomically. A hub dataset is downloaded on first use and then stored like an upload.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO

from promptatlas.types import DatasetFormat, Split, Template

from service.errors import Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.builtin import BuiltinDataset, BuiltinDatasets
from service.store.datasets.commits import commit_dataset
from service.store.datasets.files import DatasetFiles, StoredDataset
from service.store.datasets.formats import open_format
from service.store.datasets.formats.records import SPLITS, Record, RecordFormat
from service.store.datasets.hub import HubReader, LoadRows, check_dataset_name, is_hub_name, load_rows, parse_hub_name
from service.store.datasets.importer import Importer, split_files
from service.store.datasets.items import (
    DatasetInfo,
    Example,
    Peek,
    StoredRecord,
    bare_example,
    make_examples,
    patterns_of,
    within,
)
from service.store.datasets.templates import TemplateOverride, complete_template
from service.store.index.index import StoreIndex
from service.store.index.lists import from_index_or_files
from service.store.listing import Page, check_limit, log_damage
from service.store.prompts.manifests import check_name

_MAX_PEEK_BYTES = 4 << 20
_NO_OVERRIDE = TemplateOverride()


class DatasetStore:
    """Datasets in an artifact store; thread-safe, and safe with other instances on the same store.

    Args:
        artifacts: The artifact store.
        builtin: Folder of the built-in datasets.
        max_bytes: Limit for the stored records of one dataset.
        load_hub: Loads the rows of a hub dataset. None: hub datasets that are not stored yet are not found.
        clock: Timestamps for ``created_at``.
        index: Of the same store, for lists; None: lists are read from the files.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        builtin: Path | None = None,
        max_bytes: int = 4 << 30,
        load_hub: LoadRows | None = load_rows,
        clock: Clock = utc_now,
        index: StoreIndex | None = None,
    ) -> None:
        self._files = DatasetFiles(artifacts, clock=clock)
        self._index = index
        self._builtin = BuiltinDatasets(builtin)
        self._max_bytes = max_bytes
        self._load_hub = load_hub
        self._clock = clock

    def create(
        self,
        name: str,
        *,
        format: DatasetFormat,  # noqa: A002
        stream: BinaryIO,
        override: TemplateOverride = _NO_OVERRIDE,
        cloze: bool = False,
    ) -> tuple[DatasetInfo, bool]:
        """Store the dataset in an open file, or return the existing dataset with the same records.

        Args:
            format: Format of the file.
            stream: Read once, from its current position.
            override: Template to use instead of the format's default.
            cloze: Whether to turn running text into cloze items.

        Returns:
            The metadata, and whether the dataset is new.

        Raises:
            InvalidRequest: A record is invalid; the error names its location, and nothing is stored.
            TooLarge: A line or all records together exceed their limit.
            Conflict: The name has another dataset.
        """
        check_name(name)
        if name in self._builtin.names():
            raise Conflict(f"Dataset {name!r} is built in; use another name.")
        reader = open_format(format, has_template=override != _NO_OVERRIDE, cloze=cloze)
        return self._store(name, record_format=reader, records=reader.read(stream), override=override)

    def get(self, name: str) -> DatasetInfo:
        """Metadata of a dataset; a hub dataset is downloaded if needed.

        Raises:
            InvalidRequest: The name is invalid, or the hub dataset cannot be loaded.
            NotFound: There is no such dataset.
            DamagedArtifact: Its manifest is damaged.
            HubUnreachable: The hub cannot be reached.
        """
        return self._find(name).info

    def is_stored(self, name: str) -> bool:
        """Whether a dataset is here, without loading one of the hub; InvalidRequest for what is no name."""
        check_dataset_name(name)
        return self._builtin.get(name) is not None or self._files.find(name) is not None

    def list_datasets(self, *, limit: int = 20, after: str | None = None) -> Page[DatasetInfo]:
        """Datasets after the cursor ``after``, ordered by name, including downloaded hub datasets; damaged ones are skipped."""
        check_limit(limit)
        builtin = sorted(name for name in self._builtin.names() if after is None or name > after)

        def take(stored: Iterable[str]) -> list[DatasetInfo]:
            names = (name for name, _ in groupby(heapq.merge(stored, builtin)))
            return list(islice(filter(None, map(self._intact_info, names)), limit + 1))

        found = from_index_or_files(
            take,
            index=self._index,
            candidates=lambda index: index.names("dataset", after=after),
            files=lambda: (name for name in self._files.names() if after is None or name > after),
        )
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=found[limit - 1].name if has_more else None)

    def delete(self, name: str) -> None:
        """Delete a dataset; a hub dataset is downloaded again on its next use.

        Raises:
            Conflict: The dataset is built in.
            NotFound: There is no such dataset.
        """
        check_dataset_name(name)
        if name in self._builtin.names():
            raise Conflict(f"Dataset {name!r} is built in and cannot be deleted.")
        if not self._files.remove(name):
            raise NotFound(f"There is no dataset {name!r}.")

    def examples(
        self,
        name: str,
        *,
        split: Split | None = None,
        n: int | None = None,
        seed: int | None = None,
        template: Template | None = None,
    ) -> Iterator[Example]:
        """Examples in the order of the file.

        Args:
            split: One split; None: all splits.
            n: Number of examples; None: all. Without a seed, the first ``n``.
            seed: Sample ``n`` without replacement, deterministically.
            template: Used instead of the dataset's own.

        Raises:
            InvalidRequest, NotFound, Unavailable: On the call, like ``get``, and for a template that does not fit.
            DamagedArtifact: While reading, if a file is damaged.
        """
        dataset = self._find(name)
        patterns = patterns_of(dataset.info, template=template)
        n_available = dataset.info.n_records if split is None else dataset.info.splits.get(split, 0)
        records = self._records(dataset, split=split, wanted=_choose(n_available, n=n, seed=seed))
        return make_examples(records, patterns=patterns)

    def peek(
        self,
        name: str,
        *,
        split: Split | None = None,
        limit: int = 10,
        after: int | None = None,
        override: TemplateOverride = _NO_OVERRIDE,
        max_bytes: int = _MAX_PEEK_BYTES,
    ) -> Peek:
        """The first examples after the record number ``after``; raises like ``get``.

        Args:
            override: Template to try instead of the dataset's own.
            max_bytes: Limit for all examples together; raises TooLarge if they exceed it.
        """
        dataset = self._find(name)
        template = complete_template(dataset.info.template, override=override, fields=dataset.info.fields)
        records = self._records(dataset, split=split, wanted=None)
        following = records if after is None else (record for record in records if record.index > after)
        chosen = islice(following, limit)
        if template is None and "text" not in dataset.info.fields:
            # Without a template the records are returned, so that a template can be written for their fields.
            made: Iterator[Example] = map(bare_example, chosen)
        else:
            made = make_examples(chosen, patterns=patterns_of(dataset.info, template=template, loc=("query",)))
        shown = list(within(made, max_bytes=max_bytes))
        has_more = next(following, None) is not None
        return Peek(
            info=dataset.info,
            template=template,
            examples=shown,
            next=str(shown[-1].index) if has_more else None,
        )

    def _store(
        self,
        name: str,
        *,
        record_format: RecordFormat,
        records: Iterable[Record],
        override: TemplateOverride = _NO_OVERRIDE,
    ) -> tuple[DatasetInfo, bool]:
        with split_files() as files:
            imported = Importer(files, override=override, max_bytes=self._max_bytes).run(record_format, records)
            info = imported.as_info(name=name, file_format=record_format.name, created_at=write_time(self._clock()))
            return commit_dataset(self._files, info, paths=files.finish())

    def _find(self, name: str) -> StoredDataset | BuiltinDataset:
        check_dataset_name(name)
        found = self._builtin.get(name) or self._files.find(name)
        if found is None and is_hub_name(name):
            self._load(name)
            found = self._files.find(name)
        if found is None:
            raise NotFound(f"There is no dataset {name!r}.")
        return found

    def _load(self, name: str) -> None:
        if self._load_hub is None:
            raise NotFound(
                f"Dataset {name!r} is not stored here. The first request for a dataset of the hub loads it, and needs a key "
                f"with scope 'write': a run that uses it, or PUT /v1/datasets/{name}."
            )
        hub = parse_hub_name(name)
        reader = HubReader(self._load_hub(hub.repository, hub.config), name=name)
        # Another process may have stored it in the meantime. Its copy stays, even if the hub has changed since.
        with suppress(Conflict):
            self._store(name, record_format=reader, records=reader.records())

    def _intact_info(self, name: str) -> DatasetInfo | None:
        try:
            found = self._builtin.get(name) or self._files.find(name)
        except DamagedArtifact as error:
            log_damage(error)
            return None
        return None if found is None else found.info

    def _records(
        self, dataset: StoredDataset | BuiltinDataset, *, split: Split | None, wanted: Container[int] | None
    ) -> Iterator[StoredRecord]:
        if split is not None and split not in SPLITS:
            raise InvalidRequest(f"A split is train, validation or test; got {split!r}.", loc=("split",))
        if isinstance(dataset, StoredDataset):
            return self._files.records(dataset, split=split, wanted=wanted)
        chosen = (record for record in dataset.records if split is None or record.split == split)
        return (record for position, record in enumerate(chosen) if wanted is None or position in wanted)


def _choose(n_available: int, *, n: int | None, seed: int | None) -> Container[int] | None:
    """Positions of the records to return, of ``n_available``; None: all."""
    if n is not None and n < 1:
        raise InvalidRequest(f"n must be 1 or more; it is {n}.", loc=("n",))
    if n is None or n >= n_available:
        return None
    return range(n) if seed is None else frozenset(random.Random(seed).sample(range(n_available), n))
