"""Final answers of generated texts, and the steps before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from promptatlas.types.answers import AfterMarker, AnswerRule, LastNumber

from service.linear_patterns import LinearPattern
from workers.evaluation.numeric_match import last_number

_PART_ENDS = re.compile(r"(?<=[.;!?])\s+")

FindAnswer = Callable[[str], str | None]
"""The final answer of a text, or None if the rule finds none."""


def answer_finder(rule: AnswerRule) -> FindAnswer:
    """The function that applies a rule. An answer is never blank.

    Raises:
        InvalidRequest: A pattern is not valid.
    """
    if rule == "whole":
        return _stripped
    if isinstance(rule, LastNumber):
        return last_number
    if isinstance(rule, AfterMarker):
        marker = rule.after
        return lambda text: _after(text, marker)
    pattern = LinearPattern(rule.pattern, loc=("answer", "pattern"))
    return lambda text: _stripped(pattern.last(text) or "")


def describe_rule(rule: AnswerRule) -> str:
    """The rule in a few words, for messages."""
    if rule == "whole":
        return "the whole text"
    if isinstance(rule, LastNumber):
        return "the last number"
    return f"after {rule.after!r}" if isinstance(rule, AfterMarker) else f"the pattern {rule.pattern[:80]!r}"


def steps_of(text: str, *, answer: str | None) -> Sequence[str]:
    """The steps of a text: its lines, or the parts of a single line that end in ``.``, ``;``, ``!`` or ``?``.

    The last part is no step if it only states the answer.
    """
    parts = [line.strip() for line in text.splitlines() if line.strip()]
    if len(parts) == 1:
        parts = [part for part in _PART_ENDS.split(parts[0]) if part]
    if parts and answer is not None and _states_only(parts[-1], answer):
        parts.pop()
    return parts


def _states_only(part: str, answer: str) -> bool:
    """Whether a part is the answer, with nothing but punctuation or a marker around it."""
    before, found, after = part.rpartition(answer)
    return bool(found) and not any(character.isalnum() for character in before + after)


def _after(text: str, marker: str) -> str | None:
    _, found, rest = text.rpartition(marker)
    return _stripped(rest.partition("\n")[0]) if found else None


def _stripped(text: str) -> str | None:
    return text.strip() or None
