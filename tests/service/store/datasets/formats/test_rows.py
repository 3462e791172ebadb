"""Rows: which files are lines and which one value, and the limit of the latter."""

from __future__ import annotations

import io
import json

import pytest

from service.errors import TooLarge
from service.store.datasets.formats import rows
from service.store.datasets.formats.gsm8k import Gsm8k
from service.store.datasets.formats.rows import has_object_lines
from tests.service.store.datasets.formats.format_files import fields_of, refusal

ITEMS = [{"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(3)]


def is_lines(data: str) -> bool:
    stream = io.BytesIO(data.encode())
    found = has_object_lines(stream, is_file=lambda found: "data" in found)
    assert stream.tell() == 0
    return found


@pytest.mark.parametrize(
    "text", ["", "\n \n", "[1]", '[\n{"a":1}]', '{\n"a": 1}', '{"a": 1,\n"b": 2}', '{"a": [{"b": 1}\n]}', '{"data": 1}']
)
def test_these_are_one_value(text: str) -> None:
    assert not is_lines(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '\n{"a": 1}\n{',
        "{'a': 1}",
        '{"a": "x\ny"}',
        "true",
        r'{"a": "\ud800"}',
    ],
)
def test_these_are_lines(text: str) -> None:
    assert is_lines(text)


def test_any_indentation_of_a_value_is_one_value() -> None:
    value = {"rows": [{"text": "a, b", "n": [1, -2.5, None, True], "deep": {"x": {}, "y": []}}]}
    for indent in (0, 1, 4):
        assert not is_lines(json.dumps(value, indent=indent))


def test_gsm8k_takes_all_forms() -> None:
    columns = {name: [item[name] for item in ITEMS] for name in ITEMS[0]}
    expected = fields_of(Gsm8k(), "\n".join(map(json.dumps, ITEMS)))
    assert [one["final"] for one in expected] == ["1", "2", "3"]
    for value in (ITEMS, columns):
        for indent in (None, 1):
            assert fields_of(Gsm8k(), json.dumps(value, indent=indent)) == expected


def test_a_single_value_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_BYTES", 100)
    error = refusal(Gsm8k(), json.dumps(ITEMS), TooLarge)
    assert "has at most 100 bytes" in error.detail
    assert len(fields_of(Gsm8k(), "\n".join(map(json.dumps, ITEMS)))) == 3
