"""Numeric match: GSM8K's rule for comparing results (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168).

The result of a text is the first number after ``####``; without that marker, the last number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

MARKER = "####"
MAX_DIGITS = 1000
"""Longer numbers are ignored, since exact arithmetic with them is slow."""

MAX_EXPONENT = 1000

# A sign counts only if no number or word precedes it: 20-5 ends in 5. A separator counts only between groups of three digits,
# or in the Indian grouping (1,23,456).
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])[-−+])?\$?"
    r"(?:(?P<whole>\d{1,3}(?P<separator>[,'’ \u00a0\u2009\u202f])\d{3}(?:(?P=separator)\d{3})*(?!\d)|"
    r"\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+)(?P<fraction>\.\d+)?|(?P<bare>\.\d+))"
    r"(?:[eE](?P<exponent>[-−+]?\d+)(?![\w.])|\s*(?:[×*]|\\times)\s*10\s*(?:\^|\*\*)\s*(?P<brace>\{)?(?P<power>[-−+]?\d+)(?(brace)\})|"
    r"/(?P<denominator>\d+)(?![.,]?\d))?",
    re.ASCII,
)
_PUNCTUATION = str.maketrans("．，－＋／＄٫٬", ".,-+/$.,")
"""Full-width forms and Arabic separators, as ASCII."""


def number_in(text: str) -> Fraction | None:
    """The exact result of a text, or None if it has no number.

    ``3/4`` is a fraction; ``1,234``, ``1 234`` and ``1'234`` are 1234; ``1.5e3`` and ``1.5 × 10^3`` are 1500. Decimal digits of
    every script count. A number of more than ``MAX_DIGITS`` characters or with a larger exponent than ``MAX_EXPONENT`` is none.
    """
    before, marker, after = text.partition(MARKER)
    found = list(_NUMBER.finditer(_in_ascii(after if marker else before)))
    if not found:
        return None
    return _value(found[0] if marker else found[-1])


def last_number(text: str) -> str | None:
    """The last number of a text as it is written, in ASCII; None if it has none."""
    found = None
    for match in _NUMBER.finditer(_in_ascii(text)):
        found = match
    return None if found is None else found[0].strip()


def numeric_match(output: str, answers: Sequence[str]) -> float:
    """1 if the result of the output equals that of one of the answers."""
    predicted = number_in(output)
    return float(predicted is not None and any(predicted == number_in(answer) for answer in answers))


def _in_ascii(text: str) -> str:
    """The text with the digits and the punctuation of numbers in ASCII. Superscripts are no decimal digits, and stay."""
    if text.isascii():
        return text
    digits = {ord(character): str(unicodedata.decimal(character)) for character in set(text) if character.isdecimal()}
    return text.translate(digits).translate(_PUNCTUATION)


def _value(match: re.Match[str]) -> Fraction | None:
    exponent = int((match["exponent"] or match["power"] or "0")[:MAX_DIGITS].replace("−", "-"))
    denominator = int(match["denominator"] or 1) if len(match[0]) <= MAX_DIGITS else 0
    if denominator == 0 or abs(exponent) > MAX_EXPONENT:
        return None
    digits = re.sub(r"\D", "", match["whole"] or "0", flags=re.ASCII) + (match["fraction"] or match["bare"] or "")
    value = Fraction(digits) * Fraction(10) ** exponent / denominator
    return -value if match["sign"] in ("-", "−") else value
