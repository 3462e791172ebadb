"""Lines of a file, one at a time, never more of it in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from service.errors import InvalidRequest, TooLarge
from service.store.datasets.formats.locations import Location

MAX_LINE_BYTES = 16 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PACKED = {b"\x1f\x8b": "a gzip", b"PK\x03\x04": "a zip", b"(\xb5/\xfd": "a zstd"}


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    r"""Lines with their numbers from 1, without ``\n`` or ``\r\n``; a byte order mark is dropped.

    Raises:
        InvalidRequest: a line is not UTF-8 or has a NUL character.
        TooLarge: a line is over ``MAX_LINE_BYTES``.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        if number == 1:
            _refuse_packed(line)
            line = line.removeprefix(_BYTE_ORDER_MARK)
        yield number, decode(_without_end(line, number=number), location=Location.line(number))


def decode(data: bytes, *, location: Location) -> str:
    """UTF-8 text without NUL characters; InvalidRequest otherwise."""
    if b"\0" in data:
        raise location.error("UTF-8 text", got=f"a NUL character at byte {data.index(0) + 1}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise location.error("UTF-8 text", got=f"a byte that is none at byte {error.start + 1}") from None


def _without_end(line: bytes, *, number: int) -> bytes:
    text = line[:-1] if line.endswith(b"\n") else line
    if len(text) > MAX_LINE_BYTES:
        raise TooLarge(
            f"Line {number} is over the limit of {MAX_LINE_BYTES:,} bytes; cut the document into several.",
            loc=("body", number),
        )
    return text.removesuffix(b"\r")


def _refuse_packed(line: bytes) -> None:
    for magic, name in _PACKED.items():
        if line.startswith(magic):
            raise InvalidRequest(f"The file is {name} file; send it unpacked.", loc=("body",))
