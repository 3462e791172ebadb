"""A finding's answer: numbers, the rule that reads them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["confirmed", "contradicted", "mixed", "not measured"]

Parts = Mapping[str, bool | None]
"""Parts of a rule, by what each says: it holds, it does not, or (None) the numbers leave it open."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """See :class:`promptatlas.types.Finding`. ``numbers`` has under ``parts`` which parts of the rule hold."""

    number: int
    title: str
    rule: str
    verdict: Verdict
    numbers: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None


def not_measured(number: int, *, title: str, rule: str, missing: str) -> Answer:
    """A finding for which the report was not given what it takes."""
    return Answer(number=number, title=title, rule=rule, verdict="not measured", missing=missing)


def judged(number: int, *, title: str, rule: str, parts: Parts, numbers: Mapping[str, Any]) -> Answer:
    """The answer that follows from a rule's parts."""
    return Answer(
        number=number,
        title=title,
        rule=f"{rule} {COMBINED}",
        verdict=verdict_of(parts),
        numbers={"parts": parts, **numbers},
    )


COMBINED = "Confirmed when every part holds; contradicted when none does and one is shown not to; mixed otherwise."


def verdict_of(parts: Parts) -> Verdict:
    """All parts hold, none does, or some; without any, not measured."""
    found = list(parts.values())
    if not found:
        return "not measured"
    if all(found):
        return "confirmed"
    return "contradicted" if False in found and True not in found else "mixed"
