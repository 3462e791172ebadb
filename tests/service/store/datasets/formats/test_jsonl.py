"""jsonl: pairs, running text, free fields."""

from __future__ import annotations

import json

import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats.jsonl import PAIR, Jsonl
from tests.service.store.datasets.formats.format_files import fields_of, records_of, refusal


def test_pairs_keep_their_further_fields_and_their_split() -> None:
    first, second = records_of(
        Jsonl(),
        '{"input":"2+2=","target":4,"split":"dev","task":"sum"}\n  \n{"target":" b","input":"a","answers":["b","c"]}\n',
    )
    assert (first.fields, first.split) == ({"input": "2+2=", "target": 4, "task": "sum"}, "validation")
    assert (second.fields["answers"], second.split, second.location.name) == (["b", "c"], None, "Line 3")
    assert Jsonl().default_template(first) == PAIR


def test_running_text_has_no_template() -> None:
    (record,) = records_of(Jsonl(), '{"text":"Once upon a time.","source":"x"}')
    assert Jsonl().default_template(record) is None


def test_with_a_template_any_fields_will_do() -> None:
    assert fields_of(Jsonl(free=True), '{"a":1,"answers":{"text":[]}}\n{"b":[2]}') == [
        {"a": 1, "answers": {"text": []}},
        {"b": [2]},
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"a": 1, "b": 2}, "expected the fields 'input' and 'target', or 'text'"),
        ({}, "got the fields none"),
        ({"input": "a"}, "got the fields 'input'"),
        ({"text": 3}, "expected text in 'text', got a number"),
        ({"text": " \n"}, "expected text in 'text', got only whitespace"),
        ({"input": "", "target": "b"}, "expected text in 'input', got empty text"),
        ({"input": "a", "target": None}, "expected text in 'target', got null"),
        ({"input": "a", "target": ["b"]}, "expected text in 'target', got a list"),
        ({"input": "a", "target": "b", "answers": "b"}, "expected 'answers' to be a non-empty list of texts"),
        ({"input": "a", "target": "b", "answers": []}, "expected 'answers' to be a non-empty list of texts"),
        ({"input": "a", "target": "b", "answers": ["b", 2]}, "expected 'answers' to be a non-empty list of texts"),
        ({"input": "a", "target": "b", "split": "holdout"}, 'of train, validation or test, got the text "holdout"'),
        ({"input": "a", "target": "b", "split": 1}, "got a number"),
    ],
)
def test_a_bad_record_names_its_line(line: object, said: str) -> None:
    error = refusal(Jsonl(), json.dumps(line), InvalidRequest)
    assert error.detail.startswith("Line 1: ")
    assert said in error.detail
    assert error.loc == ("body", 1)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ('{"text":"a"}', '{"input":"a","target":"b"}', "or 'text'"),
        ('{"input":"a","target":"b"}', '{"text":"a"}', "expected a field 'input', got the fields 'text'"),
    ],
)
def test_all_lines_are_of_one_kind(first: str, second: str, said: str) -> None:
    error = refusal(Jsonl(), f"{first}\n{second}", InvalidRequest)
    assert error.detail.startswith("Line 2: ")
    assert said in error.detail
