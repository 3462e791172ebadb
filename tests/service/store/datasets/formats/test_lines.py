"""Lines: numbers, ends, and what is no text."""

from __future__ import annotations

import io

import pytest

from service.errors import InvalidRequest, TooLarge
from service.store.datasets.formats import lines
from service.store.datasets.formats.lines import numbered_lines


def test_lines_are_numbered_and_lose_their_ends() -> None:
    data = "\ufeffa\r\nb\n\nc\u2028d".encode()
    assert list(numbered_lines(io.BytesIO(data))) == [(1, "a"), (2, "b"), (3, ""), (4, "c\u2028d")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"good\nb\xffd\n", "Line 2: expected UTF-8 text, got an invalid byte at byte 2."),
        (b"good\ngood\na\0b", "Line 3: expected UTF-8 text, got a NUL character at byte 2."),
        ("x".encode("utf-16"), "Line 1: expected UTF-8 text, got a NUL character at byte 4."),
        (b"\x1f\x8b\x08rest", "The file is a gzip file; upload it uncompressed."),
        (b"PK\x03\x04rest", "The file is a zip file; upload it uncompressed."),
    ],
)
def test_what_is_no_text_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        list(numbered_lines(io.BytesIO(data)))
    assert caught.value.detail == said


def test_a_line_has_a_limit_and_is_never_read_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    assert [len(text) for _, text in numbered_lines(io.BytesIO(b"x" * 10 + b"\n" + b"y" * 10))] == [10, 10]
    stream = io.BytesIO(b"ok\n" + b"x" * 1000)
    with pytest.raises(TooLarge, match="Line 2 exceeds the limit of 10 bytes"):
        list(numbered_lines(stream))
    assert stream.tell() < 20
