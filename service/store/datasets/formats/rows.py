"""Rows of a file as Hugging Face ``datasets`` writes them: lines of JSON objects, one array of objects, or one object of columns.

A file that is a single JSON value is read as a whole, so it has a separate size limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Final

from service.errors import TooLarge
from service.store.datasets.formats.lines import MAX_LINE_BYTES, decode, numbered_lines
from service.store.datasets.formats.locations import Location, describe
from service.store.datasets.formats.strict_json import parse_json, parse_object

MAX_BYTES: Final = 128 << 20

WHOLE: Final = Location("The file", ("body",))

Row = tuple[dict[str, Any], Location]
"""A row and its location."""


def read_rows(stream: BinaryIO, *, key: str) -> Iterator[Row]:
    """Rows in any of the three forms. Blank lines are skipped.

    Args:
        key: A column that every row has.

    Raises:
        InvalidRequest: The file or a row is no valid JSON, or columns have different lengths.
        TooLarge: A line exceeds ``MAX_LINE_BYTES``, or a single JSON value exceeds ``MAX_BYTES``.
    """
    if has_object_lines(stream, is_file=lambda found: isinstance(found.get(key), list)):
        yield from line_rows(stream)
    else:
        yield from value_rows(read_value(stream), key=key)


def has_object_lines(stream: BinaryIO, *, is_file: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether the file is to be read line by line rather than as one JSON value. The stream's position does not change.

    Args:
        is_file: Whether an object on a single line is the whole file rather than its first row.
    """
    start = stream.tell()
    line = stream.readline(MAX_LINE_BYTES + 2)
    while line and not line.strip():
        line = stream.readline(MAX_LINE_BYTES + 2)
    stream.seek(start)
    text = line.removeprefix(b"\xef\xbb\xbf").strip()
    if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
        # Too long for a row; SQuAD itself is one line of 30 to 40 MB.
        return False
    if not text.startswith(b"{"):
        # What is neither an object nor an array is a faulty line; its error has the number of the line.
        return bool(text) and not text.startswith(b"[")
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        # A value that ends too early continues on the next line; any other fault is one of this line.
        return error.pos < len(error.doc)
    except (ValueError, RecursionError):
        return True
    return not is_file(found)


def line_rows(stream: BinaryIO) -> Iterator[Row]:
    """Rows of a file with one JSON object per line."""
    for number, line in numbered_lines(stream):
        if line.strip():
            location = Location.line(number)
            yield parse_object(line, location=location), location


def read_value(stream: BinaryIO) -> Any:
    """The JSON value of the whole file; None for an empty file."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLarge(
            f"A file that is one JSON value has at most {MAX_BYTES:,} bytes; upload a larger dataset with one JSON "
            "object per line.",
            loc=("body",),
        )
    text = decode(data.removeprefix(b"\xef\xbb\xbf"), location=WHOLE)
    return parse_json(text, location=WHOLE) if text.strip() else None


def value_rows(value: object, *, key: str) -> Iterator[Row]:
    """Rows of an array of objects, or of an object of columns; none of None."""
    if value is None:
        return
    if isinstance(value, dict) and isinstance(value.get(key), list):
        yield from _column_rows(value, n_rows=len(value[key]))
        return
    if not isinstance(value, list):
        # A single row on several lines.
        yield parse_fields(value, location=WHOLE), WHOLE
        return
    for index, item in enumerate(value):
        location = _row_location(index)
        yield parse_fields(item, location=location), location


def parse_fields(value: object, *, location: Location) -> dict[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise location.error("a JSON object", got=describe(value))
    return value


def _column_rows(columns: Mapping[str, Any], *, n_rows: int) -> Iterator[Row]:
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != n_rows:
            got = f"{len(values)}" if isinstance(values, list) else describe(values)
            raise WHOLE.error(f"a list of {n_rows} values in the column {name[:40]!r}", got=got)
    for index in range(n_rows):
        yield {name: values[index] for name, values in columns.items()}, _row_location(index)


def _row_location(index: int) -> Location:
    """A row of a file without lines: its index from 0, as in ``data[3]`` of nested JSON."""
    return Location(f"[{index}]", ("body", index))
