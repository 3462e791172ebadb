"""Numeric match: GSM8K's rule for comparing results (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168).

The result of a text is the first number after ``####``; without that marker, the last number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

MARKER = "####"
MAX_DIGITS = 1000
"""Longer numbers are ignored, since exact arithmetic with them is slow."""

# A sign counts only if no number or word precedes it: 20-5 ends in 5. Commas count only between groups of three digits.
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])[-−+])?\$?"
    r"(?:(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?P<fraction>\.\d+)?|(?P<bare>\.\d+))"
    r"(?:/(?P<denominator>\d+)(?![.,]?\d))?",
    re.ASCII,
)


def number_in(text: str) -> Fraction | None:
    """The exact result of a text, or None if it has no number. ``3/4`` is a fraction, ``1,234`` is 1234."""
    before, marker, after = text.partition(MARKER)
    found = list(_NUMBER.finditer(after if marker else before))
    if not found:
        return None
    return _value(found[0] if marker else found[-1])


def numeric_match(output: str, answers: Sequence[str]) -> float:
    """1 if the result of the output equals that of one of the answers."""
    predicted = number_in(output)
    return float(predicted is not None and any(predicted == number_in(answer) for answer in answers))


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > MAX_DIGITS:
        return None
    digits = (match["whole"] or "0").replace(",", "") + (match["fraction"] or match["bare"] or "")
    denominator = int(match["denominator"] or 1)
    if denominator == 0:
        return None
    value = Fraction(digits) / denominator
    return -value if match["sign"] in ("-", "−") else value
