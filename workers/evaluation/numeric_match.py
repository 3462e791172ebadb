"""Whether an output's number is the right one: GSM8K's rule (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168).

A text's number is the first one behind its ``####``; without that mark, the last number in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

MARK = "####"
MAX_DIGITS = 1000
"""A longer number is none: nobody means it, and exact arithmetic with it is slow."""

# A sign counts only where no number or word stands before it: 20-5 ends in 5. Commas count only between groups of three.
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])[-−+])?\$?"
    r"(?:(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?P<part>\.\d+)?|(?P<bare>\.\d+))"
    r"(?:/(?P<below>\d+)(?![.,]?\d))?",
    re.ASCII,
)


def number_in(text: str) -> Fraction | None:
    """The number that a text gives as its result, exactly; None if there is none. ``3/4`` is a fraction, ``1,234`` 1234."""
    before, mark, behind = text.partition(MARK)
    found = list(_NUMBER.finditer(behind if mark else before))
    if not found:
        return None
    return _value(found[0] if mark else found[-1])


def numeric_match(output: str, answers: Sequence[str]) -> float:
    """1 if the output's number equals that of one of the answers."""
    given = number_in(output)
    return float(given is not None and any(given == number_in(answer) for answer in answers))


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > MAX_DIGITS:
        return None
    digits = (match["whole"] or "0").replace(",", "") + (match["part"] or match["bare"] or "")
    below = int(match["below"] or 1)
    if below == 0:
        return None
    value = Fraction(digits) / below
    return -value if match["sign"] in ("-", "−") else value
