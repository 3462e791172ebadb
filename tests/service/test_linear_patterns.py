from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from service.linear_patterns import LinearPattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b+", "abbabbb", "bbb"),
        ("a(b+)", "abbab", "b"),
        ("a(b)?", "aba", None),
        ("é.", "éa éb", "éb"),
        ("x", "", None),
        ("", "ab", ""),
    ],
)
def test_the_last_match(pattern: str, text: str, found: str | None) -> None:
    assert LinearPattern(pattern).last(text) == found


def test_patterns_that_need_exponential_time_elsewhere_end() -> None:
    """With ``re`` each of these takes longer than the limit of the test."""
    for pattern in (r"^(a+)+$", r"(a|a)*b", r"(a|aa)+$", r"(x+x+)+y"):
        assert LinearPattern(pattern).last("a" * 50 + "x" * 50 + "!") in (None, "")


def test_long_texts_and_many_matches_are_bounded() -> None:
    assert LinearPattern("start").last("start" + "x" * 20_000) is None
    assert LinearPattern("start").last("start" + "x" * 19_995) == "start"
    assert LinearPattern(r"\d+").last(" ".join(map(str, range(2000)))) == "999"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(", "missing"), ("(?=a)", "invalid perl operator"), (r"(a)\1", "invalid escape"), ("a{2000}", "repetition")],
)
def test_invalid_patterns_are_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        LinearPattern(pattern, loc=("answer", "pattern"))
    assert refused.value.loc == ("answer", "pattern")


def test_a_pattern_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        LinearPattern(r"((\pL{100}){10}\w{100}){10}")
