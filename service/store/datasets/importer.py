"""Import of records: validation against the template, splitting and hashing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from promptatlas.types import DatasetFormat, Split, Template

from service.errors import InvalidRequest, TemporaryFilesUnavailable, TooLarge
from service.store.datasets.formats.records import SPLITS, Record, RecordFormat
from service.store.datasets.items import DatasetInfo, StoredRecord
from service.store.datasets.templates import (
    MAX_TEXT_CHARACTERS,
    Pattern,
    TemplateOverride,
    TemplatePatterns,
    complete_template,
    parse_template,
    usable_fields,
)
from service.store.locked_folders import scratch_folder

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Result of an import. sha256: ``sha256:`` and 64 digits, over records and their splits in order."""

    sha256: str
    n_records: int
    n_bytes: int
    splits: Mapping[Split, int]
    template: Template | None
    fields: tuple[str, ...]

    def as_info(
        self, *, name: str, file_format: DatasetFormat, created_at: str | None = None, builtin: bool = False
    ) -> DatasetInfo:
        """Metadata of a dataset with these records."""
        return DatasetInfo(
            name=name,
            format=file_format,
            sha256=self.sha256,
            n_records=self.n_records,
            n_bytes=self.n_bytes,
            splits=self.splits,
            template=self.template,
            fields=self.fields,
            created_at=created_at,
            builtin=builtin,
        )


class RecordWriter(Protocol):
    """Receives imported records."""

    def write(self, record: StoredRecord, *, text: bytes) -> None:
        """Write one record. text: its fields as canonical JSON."""


class SplitFiles:
    """Writes one file per split, ``{split}.jsonl``, with one line ``{"index":…,"record":…}`` per record."""

    def __init__(self, folder: Path, *, stack: ExitStack) -> None:
        self.paths: dict[str, Path] = {}
        self._files: dict[Split, BinaryIO] = {}
        self.folder = folder
        self._stack = stack

    def write(self, record: StoredRecord, *, text: bytes) -> None:
        file = self._files.get(record.split)
        if file is None:
            path = self.folder / file_of(record.split)
            self.paths[path.name] = path
            file = self._files[record.split] = self._stack.enter_context(path.open("wb", buffering=1 << 20))
        file.write(b'{"index":%d,"record":%s}\n' % (record.index, text))

    def finish(self) -> dict[str, Path]:
        """Close the files and return their paths by name."""
        self._stack.close()
        return self.paths


def file_of(split: Split) -> str:
    """Name of the file of a split."""
    return f"{split}.jsonl"


@contextmanager
def split_files() -> Iterator[SplitFiles]:
    """Split files in a temporary folder, which is removed afterwards. Disk errors become Unavailable."""
    with disk_errors_as_unavailable(), scratch_folder() as folder, ExitStack() as stack:
        yield SplitFiles(folder, stack=stack)


@contextmanager
def disk_errors_as_unavailable() -> Iterator[None]:
    """Translate OSErrors of temporary files into Unavailable, without paths in the message."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        raise TemporaryFilesUnavailable(
            f"The file could not be stored temporarily: {reason}.", retry_after_s=5.0
        ) from error


class Importer:
    """Validates records and passes them to a writer.

    Args:
        writer: Receives the records.
        override: Requested template.
        max_bytes: Limit for all records together, as stored.
    """

    def __init__(self, writer: RecordWriter, *, override: TemplateOverride, max_bytes: int) -> None:
        self._writer = writer
        self._override = override
        self._max_bytes = max_bytes
        self._sha256 = hashlib.sha256()
        self._splits: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self._n_records = 0
        self._n_bytes = 0
        self._fields: list[str] = []
        self._template: Template | None = None
        self._patterns: TemplatePatterns | None = None

    def run(self, record_format: RecordFormat, records: Iterable[Record]) -> Imported:
        """Import all records of a file.

        Raises:
            InvalidRequest: A record does not fit the template, or usable are no records.
            TooLarge: The records exceed the limit.
        """
        for record in records:
            if not self._n_records:
                self._set_template(record, default=record_format.default_template(record))
            self._add(record)
        return self._result()

    def _set_template(self, record: Record, *, default: Template | None) -> None:
        self._fields = usable_fields(record.fields)
        self._template = complete_template(default, override=self._override, fields=self._fields)
        if self._template is not None:
            self._patterns = parse_template(self._template, fields=self._fields)

    def _add(self, record: Record) -> None:
        usable = set(usable_fields(record.fields))
        if self._patterns is not None:
            _check_filled(record, patterns=self._patterns, usable=usable)
        if not usable.issuperset(self._fields):
            self._fields = [name for name in self._fields if name in usable]
        text = canonical_record(record.fields)
        split = record.split or split_of(text if record.group is None else record.group.encode("utf-8"))
        self._n_bytes += len(text)
        if self._n_bytes > self._max_bytes:
            raise TooLarge(
                f"{record.location.name}: the records up to here exceed the limit of {self._max_bytes:,} bytes; "
                "upload the dataset in parts.",
                loc=record.location.loc,
            )
        self._writer.write(StoredRecord(index=self._n_records, split=split, fields=record.fields), text=text)
        self._n_records += 1
        self._splits[split] += 1
        self._sha256.update(b'{"record":%s,"split":"%s"}\n' % (text, split.encode("ascii")))

    def _result(self) -> Imported:
        if not self._n_records:
            raise InvalidRequest("Expected at least one record, got an empty file.", loc=("body",))
        return Imported(
            sha256=f"sha256:{self._sha256.hexdigest()}",
            n_records=self._n_records,
            n_bytes=self._n_bytes,
            splits=self._splits,
            template=self._template,
            fields=tuple(self._fields),
        )


def canonical_record(fields: Mapping[str, Any]) -> bytes:
    """Canonical JSON of a record: sorted names, no whitespace, UTF-8."""
    return _ENCODER.encode(dict(fields)).encode("utf-8")


def split_of(key: bytes) -> Split:
    """Deterministic split of a record by hash: 80 % train, 10 % validation, 10 % test."""
    bucket = int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % 10
    return "test" if bucket == 9 else "validation" if bucket == 8 else "train"


def _check_filled(record: Record, *, patterns: TemplatePatterns, usable: set[str]) -> None:
    missing = sorted(patterns.names - usable)
    if missing:
        raise record.location.error(
            f"text or a number in the field {missing[0]!r}, which the template uses", got="none"
        )
    for side, pattern in (("input", patterns.input), ("target", patterns.target)):
        _check_side(pattern, side=side, record=record)


def _check_side(pattern: Pattern, *, side: str, record: Record) -> None:
    if pattern.is_blank(record.fields):
        raise record.location.error(f"some text for the template's {side}", got="none")
    n_characters = pattern.n_characters(record.fields)
    if n_characters > MAX_TEXT_CHARACTERS:
        raise record.location.error(f"at most {MAX_TEXT_CHARACTERS:,} characters as {side}", got=f"{n_characters:,}")
