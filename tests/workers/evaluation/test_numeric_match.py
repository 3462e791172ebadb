from __future__ import annotations

from fractions import Fraction

import pytest

from workers.evaluation.numeric_match import MAX_DIGITS, number_in, numeric_match


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He has 3 + 4 = 7 apples.\n#### 7", 7),
        ("#### 1,234,567", 1_234_567),
        ("10 #### -42 and then 5", -42),
        ("#### 72\nNext: 9\n#### 10", 72),
        ("first 5, then 12", 12),
        ("It costs $1,200.50.", Fraction(2401, 2)),
        ("20-5", 5),
        ("x = -5", -5),
        ("x = −5", -5),
        ("-$3", -3),
        ("a list: 12,34", 34),
        ("not in groups of three: 1,2345", 2345),
        (".5", Fraction(1, 2)),
        ("18.", 18),
        ("007", 7),
        ("-3/4", Fraction(-3, 4)),
        ("on 1/2/2020", 2020),
        ("2.50", Fraction(5, 2)),
        ("#### 1.5e3", 1500),
        ("#### -2E-3", Fraction(-1, 500)),
        ("about 6.02 × 10^4", 60_200),
        (r"so $1.5 \times 10^{-2}$", Fraction(3, 200)),
        ("2*10**3", 2000),
        ("#### 1 234", 1234),
        ("#### 12\u202f345\u202f678.5", Fraction(24_691_357, 2)),
        ("1\u00a0234 apples", 1234),
        ("1'234'567", 1_234_567),
        ("#### 1,23,456", 123_456),
        ("mixed 1,234 567", 567),
        ("2 + 3 4567", 4567),
        ("#### ３４．５", Fraction(69, 2)),
        ("答えは－１２", -12),
        ("#### ٣٤٥", 345),
        ("#### १२३", 123),
        ("#### ١٬٢٣٤٫٥", Fraction(2469, 2)),
        ("#### 1\n234", 1),
        ("2e", 2),
        ("10³", 10),
    ],
)
def test_the_number_of_a_text(text: str, expected: Fraction | int) -> None:
    assert number_in(text) == expected


@pytest.mark.parametrize(
    "text", ["", "none at all", "5 ####", "1/0", "9" * (MAX_DIGITS + 1), "1e1001", "1e-9999999", "²"]
)
def test_texts_without_a_number(text: str) -> None:
    assert number_in(text) is None


def test_numbers_match_by_value() -> None:
    assert numeric_match("so it is 1000.0", ["#### 1,000"]) == 1.0
    assert numeric_match("1/2", ["0.5"]) == 1.0
    assert numeric_match("1/4", ["3/4"]) == 0.0
    assert numeric_match("-5", ["5"]) == 0.0
    assert numeric_match("8", ["7", "8"]) == 1.0


def test_no_number_matches_nothing() -> None:
    assert numeric_match("none", ["none"]) == 0.0
    assert numeric_match("7", ["seven"]) == 0.0
