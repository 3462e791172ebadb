"""What every format yields: one record after the other, with its place in the file."""

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

    fields: JSON values by name, without the split. split: what the file says, None where it says nothing.
    group: records of one group belong in one split; None: the record is its own group.
    """

    location: Location
    fields: Mapping[str, Any]
    split: Split | None = None
    group: str | None = None


class RecordFormat(Protocol):
    """What records of one form have in common."""

    @property
    def name(self) -> DatasetFormat:
        """The format, as clients call it."""

    def default_template(self, record: Record) -> Template | None:
        """The template of files that begin with this record; None for running text, or where there is no default."""


class FileFormat(RecordFormat, Protocol):
    """How files of one format are read."""

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        """The records of a file from its present position on, in order.

        Raises:
            InvalidRequest: at the first one that is not as it should be, with its place and what was expected.
            TooLarge: a line, or a file that can only be read whole, is over its limit.
        """


def split_named(name: object) -> Split | None:
    """The split that is called so, also in other people's words; None for any other value."""
    return _SPLIT_NAMES.get(name.lower()) if isinstance(name, str) else None


def take_split(fields: dict[str, Any], *, location: Location) -> Split | None:
    """Take the field ``split`` out of ``fields``; None when there is none, or it is null."""
    name = fields.pop("split", None)
    if name is None:
        return None
    split = split_named(name)
    if split is None:
        raise location.error("a 'split' of train, validation or test", got=describe(name))
    return split


def text_field(fields: Mapping[str, Any], name: str, *, location: Location) -> str:
    """The text in a field that must be there and not be blank."""
    if name not in fields:
        raise location.error(
            f"a field {name!r}", got=f"the fields {', '.join(map(_quoted, list(fields)[:20])) or 'none'}"
        )
    value = fields[name]
    if not isinstance(value, str):
        raise location.error(f"text in {name!r}", got=describe(value))
    if not value.strip():
        raise location.error(f"text in {name!r}", got="nothing but blanks" if value else "empty text")
    return value


def _quoted(name: str) -> str:
    return repr(name[:40])
