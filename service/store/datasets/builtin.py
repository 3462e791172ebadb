"""Built-in datasets: files ``{name}.jsonl.gz`` in one folder, kept in memory."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from service.store.datasets.formats.jsonl import Jsonl
from service.store.datasets.importer import Importer
from service.store.datasets.items import DatasetInfo, StoredRecord
from service.store.datasets.templates import TemplateOverride

_SUFFIX = ".jsonl.gz"
_MAX_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class BuiltinDataset:
    """A built-in dataset, loaded into memory."""

    info: DatasetInfo
    records: Sequence[StoredRecord]


class BuiltinDatasets:
    """Built-in datasets of a folder, loaded on first use. A missing folder has none."""

    def __init__(self, folder: Path | None) -> None:
        paths = [] if folder is None or not folder.is_dir() else folder.glob(f"*{_SUFFIX}")
        self._paths = {path.name.removesuffix(_SUFFIX): path for path in paths}
        self._read: dict[str, BuiltinDataset] = {}

    def names(self) -> list[str]:
        """Names, sorted."""
        return sorted(self._paths)

    def get(self, name: str) -> BuiltinDataset | None:
        """The dataset ``name``, or None."""
        if name not in self._paths:
            return None
        if name not in self._read:
            with gzip.open(self._paths[name], "rb") as stream:
                self._read[name] = _read(name, stream=cast(BinaryIO, stream))
        return self._read[name]


class _InMemory:
    """Collects imported records in memory."""

    def __init__(self) -> None:
        self.records: list[StoredRecord] = []

    def write(self, record: StoredRecord, *, text: bytes) -> None:
        self.records.append(record)


def _read(name: str, *, stream: BinaryIO) -> BuiltinDataset:
    writer, reader = _InMemory(), Jsonl()
    imported = Importer(writer, override=TemplateOverride(), max_bytes=_MAX_BYTES).run(reader, reader.read(stream))
    return BuiltinDataset(
        info=imported.as_info(name=name, file_format=reader.name, builtin=True), records=writer.records
    )
