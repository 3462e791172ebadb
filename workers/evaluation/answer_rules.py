"""Final answers of generated texts, and the steps before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    parts = [text[start:end].strip() for start, end in _parts(text)]
    if parts and answer is not None and _states_only(parts[-1], answer):
        parts.pop()
    return parts


@dataclass(frozen=True)
class Chain:
    """Where the steps and the answer of a text begin, in characters. steps: ascending. answer: behind all steps."""

    steps: tuple[int, ...]
    answer: int


def chain_of(text: str, *, answer: str) -> Chain | None:
    """The chain of a text with this answer; None if its last part does not have the answer.

    The answer begins where the last part begins, if that only states it, and otherwise at its last occurrence there.
    """
    spans = _parts(text)
    if not spans or not answer:
        return None
    starts = [start for start, _ in spans]
    start, end = spans[-1]
    last = text[start:end]
    if _states_only(last.strip(), answer):
        return Chain(tuple(starts[:-1]), starts[-1])
    found = last.rfind(answer)
    if found < 0:
        return None
    # A last part that begins with the answer is no step.
    is_step = bool(last[:found].strip())
    return Chain(tuple(starts if is_step else starts[:-1]), start + found)


def _parts(text: str) -> list[tuple[int, int]]:
    """Spans of the lines that are not blank or, if there is one, of its sentences."""
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            found.append((start, start + len(line)))
        start += len(line)
    if len(found) != 1:
        return found
    first, end = found[0]
    # Spaces at the ends of the line separate nothing.
    first += len(text[first:end]) - len(text[first:end].lstrip())
    end = first + len(text[first:end].rstrip())
    cuts = [(match.start() + first, match.end() + first) for match in _PART_ENDS.finditer(text[first:end])]
    bounds = [first, *(position for cut in cuts for position in cut), end]
    return [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if a < b]


def _states_only(part: str, answer: str) -> bool:
    """Whether a part is the answer, with nothing but punctuation or a marker around it."""
    before, found, after = part.rpartition(answer)
    return bool(found) and not any(character.isalnum() for character in before + after)


def _after(text: str, marker: str) -> str | None:
    _, found, rest = text.rpartition(marker)
    return _stripped(rest.partition("\n")[0]) if found else None


def _stripped(text: str) -> str | None:
    return text.strip() or None
