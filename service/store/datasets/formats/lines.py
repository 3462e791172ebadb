"""Lines of a file, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from service.errors import InvalidRequest, TooLarge
from service.store.datasets.formats.locations import Location

MAX_LINE_BYTES = 16 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COMPRESSED = {b"\x1f\x8b": "a gzip", b"PK\x03\x04": "a zip", b"(\xb5/\xfd": "a zstd"}


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    r"""Lines with their numbers from 1, without ``\n`` or ``\r\n``; a byte order mark is removed.

    Raises:
        InvalidRequest: A line is not UTF-8 or has a NUL character.
        TooLarge: A line exceeds ``MAX_LINE_BYTES``.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        if number == 1:
            _refuse_binary(line)
            line = line.removeprefix(_BYTE_ORDER_MARK)
        yield number, decode(_without_end(line, number=number), location=Location.line(number))


def decode(data: bytes, *, location: Location) -> str:
    """UTF-8 text without NUL characters; InvalidRequest otherwise."""
    if b"\0" in data:
        raise location.error("UTF-8 text", got=f"a NUL character at byte {data.index(0) + 1}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise location.error("UTF-8 text", got=f"an invalid byte at byte {error.start + 1}") from None


def _without_end(line: bytes, *, number: int) -> bytes:
    text = line[:-1] if line.endswith(b"\n") else line
    if len(text) > MAX_LINE_BYTES:
        raise TooLarge(
            f"Line {number} exceeds the limit of {MAX_LINE_BYTES:,} bytes; split the document.",
            loc=("body", number),
        )
    return text.removesuffix(b"\r")


def _refuse_binary(line: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if line.startswith(magic):
            raise InvalidRequest(f"The file is {name} file; upload it uncompressed.", loc=("body",))
    if line.startswith(b"PAR1"):
        raise InvalidRequest(
            "The file is a Parquet file; upload its rows as JSON lines, e.g. written with Dataset.to_json of Hugging "
            "Face datasets.",
            loc=("body",),
        )
