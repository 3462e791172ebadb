"""Records read from a file, and the interface of formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from promptatlas.types import DatasetFormat, Split, Template

from service.store.datasets.formats.locations import Location, describe

SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

_SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of a file.

    fields: JSON values by name, without the split. split: as given in the file, or None. group: records of one group go to
    the same split; None: the record is its own group.
    """

    location: Location
    fields: Mapping[str, Any]
    split: Split | None = None
    group: str | None = None


class RecordFormat(Protocol):
    """Name and default template of a format."""

    @property
    def name(self) -> DatasetFormat:
        """Name in the wire contract."""

    def default_template(self, record: Record) -> Template | None:
        """Template for a file whose first record is ``record``; None for running text, or without a default."""


class FileFormat(RecordFormat, Protocol):
    """Reader of files of one format."""

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        """Records of a file from its current position, in order.

        Raises:
            InvalidRequest: A record is invalid; the error names its location and what was expected.
            TooLarge: A line, or a file that is read as a whole, exceeds its limit.
        """


def split_named(name: object) -> Split | None:
    """The split with this name, including common synonyms such as ``dev``; None for other values."""
    return _SPLIT_NAMES.get(name.lower()) if isinstance(name, str) else None


def take_split(fields: dict[str, Any], *, location: Location) -> Split | None:
    """Remove the field ``split`` from ``fields`` and return it; None if it is missing or null."""
    name = fields.pop("split", None)
    if name is None:
        return None
    split = split_named(name)
    if split is None:
        raise location.error("a 'split' of train, validation or test", got=describe(name))
    return split


def text_field(fields: Mapping[str, Any], name: str, *, location: Location) -> str:
    """The text of a required, non-blank field."""
    if name not in fields:
        raise location.error(
            f"a field {name!r}", got=f"the fields {', '.join(map(_quoted, list(fields)[:20])) or 'none'}"
        )
    value = fields[name]
    if not isinstance(value, str):
        raise location.error(f"text in {name!r}", got=describe(value))
    if not value.strip():
        raise location.error(f"text in {name!r}", got="only whitespace" if value else "empty text")
    return value


def _quoted(name: str) -> str:
    return repr(name[:40])
