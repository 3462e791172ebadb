"""A finding's answer: numbers, the rule that reads them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["confirmed", "contradicted", "mixed", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """See :class:`promptatlas.types.Finding`."""

    number: int
    title: str
    rule: str
    verdict: Verdict
    numbers: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None


def not_measured(number: int, *, title: str, rule: str, missing: str) -> Answer:
    """A finding for which the report was not given what it takes."""
    return Answer(number=number, title=title, rule=rule, verdict="not measured", missing=missing)


def verdict_of(*, for_it: int, against_it: int) -> Verdict:
    """From how many parts of a rule hold and how many do not."""
    if not for_it and not against_it:
        return "not measured"
    if not against_it:
        return "confirmed"
    return "contradicted" if not for_it else "mixed"
