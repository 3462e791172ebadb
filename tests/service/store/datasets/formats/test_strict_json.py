"""JSON that could not be written again, or means two things, is refused with what came."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats.locations import Location
from service.store.datasets.formats.strict_json import MAX_DEPTH, parse_json, parse_object

PLACE = Location.line(7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "something else at column 1"),
        ('{"a":1', "something else at column 7"),
        ("{'a':1}", "something else at column 2"),
        ('{"a":NaN}', "NaN, which is not JSON"),
        ('{"a":-Infinity}', "-Infinity, which is not JSON"),
        ('{"a":1e999}', "a number that is too large"),
        (f'{{"a":{"9" * 5000}}}', "a number of 5000 digits"),
        ('{"a":1,"b":2,"a":3}', 'the name "a" twice'),
        ('{"a":"\\u0000"}', "a NUL character"),
        ('{"\\ud800":1}', "a lone surrogate"),
        ('{"a":["\\udc00"]}', "a lone surrogate"),
        ("[" * 100_000, "more than 32 nested lists"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "more than 32 nested lists"),
        ("{" + ",".join(f'"f{index}":1' for index in range(1001)) + "}", "an object with 1001 names"),
    ],
)
def test_bad_json_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_json(text, location=PLACE)
    assert caught.value.detail.startswith("Line 7: expected JSON, got ")
    assert said in caught.value.detail
    assert caught.value.loc == ("body", 7)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":"\\ud83d\\ude00 \\u00e9"}', {"a": "😀 é"}),
        ('{"a":[1,2.5,true,null]}', {"a": [1, 2.5, True, None]}),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
    ],
)
def test_good_json_is_what_it_says(text: str, value: Any) -> None:
    assert value is None or parse_json(text, location=PLACE) == value
    parse_json(text, location=PLACE)


@pytest.mark.parametrize(
    ("text", "got"), [("[1]", "a list"), ('"x"', 'the text "x"'), ("null", "null"), ("3", "a number")]
)
def test_an_object_is_an_object(text: str, got: str) -> None:
    with pytest.raises(InvalidRequest, match=f"expected a JSON object, got {got}"):
        parse_object(text, location=PLACE)
