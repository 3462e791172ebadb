from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from promptatlas.types.batches import BatchSpec

from workers.batches import input_file
from workers.batches.input_file import check_input, requests_in

SPEC = BatchSpec(model="small", input_file_id="file-1", endpoint="/v1/completions")


def row(custom_id: Any = "a", **changes: Any) -> dict[str, Any]:
    known = {"method": "POST", "url": "/v1/completions", "body": {"model": "small", "prompt": "x"}}
    return {"custom_id": custom_id, **known, **changes}


def checked(*rows: Any) -> tuple[int, list[tuple[int | None, str | None, str | None]]]:
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in rows]
    n, faults = check_input(io.BytesIO(b"".join(lines)), spec=SPEC)
    return n, [(fault.line, fault.code, fault.param) for fault in faults]


def test_a_valid_file() -> None:
    rows = [row("a"), b"\n", row("b", body={"model": "small:qa@2"}), row("c", extra=1)]
    assert checked(*rows) == (3, [])
    stream = io.BytesIO(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in rows)
    )
    found = list(requests_in(stream, spec=SPEC))
    assert [(each.number, each.custom_id) for each in found] == [(0, "a"), (1, "b"), (2, "c")]
    assert found[1].body == {"model": "small:qa@2"}


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"{\n", "invalid_json_line", None),
        (b"3\n", "invalid_json_line", None),
        (b"\xff\n", "invalid_json_line", None),
        (b"[" * 100_000 + b"\n", "invalid_json_line", None),
        (row(""), "invalid_custom_id", "custom_id"),
        (row(3), "invalid_custom_id", "custom_id"),
        (row("x" * 513), "invalid_custom_id", "custom_id"),
        (row("first"), "duplicate_custom_id", "custom_id"),
        (row(method="GET"), "invalid_method", "method"),
        (row(url="/v1/chat/completions"), "invalid_url", "url"),
        (row(body=[]), "invalid_body", "body"),
        (row(body={}), "mismatched_model", "body.model"),
        (row(body={"model": "other"}), "mismatched_model", "body.model"),
    ],
)
def test_bad_lines_are_named(bad: Any, code: str, param: str | None) -> None:
    assert checked(row("first"), bad, row("last")) == (3, [(2, code, param)])


def test_an_empty_file() -> None:
    assert checked() == (0, [(None, "empty_file", None)])
    assert checked(b"\n\n") == (0, [(None, "empty_file", None)])


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_file, "MAX_LINE_BYTES", 200)
    long = row("b", body={"model": "small", "prompt": "x" * 1000})
    assert checked(row("a"), long, row("c")) == (3, [(2, "line_too_long", None)])
    monkeypatch.setattr(input_file, "MAX_FAULTS", 2)
    assert checked(b"{\n", b"{\n", b"{\n") == (2, [(1, "invalid_json_line", None), (2, "invalid_json_line", None)])
    monkeypatch.setattr(input_file, "MAX_REQUESTS", 3)
    assert checked(*(row(str(i)) for i in range(6))) == (4, [(4, "too_many_requests", None)])


def test_many_requests_take_little_memory() -> None:
    """50,000 lines of a kilobyte: 50 MB, of which the check keeps a hash a line."""

    class Lines(io.RawIOBase):
        number = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            if self.number == 50_000:
                return b""
            self.number += 1
            return json.dumps(row(str(self.number), padding="x" * 1000)).encode() + b"\n"

    tracemalloc.start()
    try:
        assert check_input(Lines(), spec=SPEC) == (50_000, [])  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 12 << 20
