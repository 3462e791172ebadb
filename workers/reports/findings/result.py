"""Result of a finding: its numbers, the decision rule and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["confirmed", "contradicted", "mixed", "not measured"]

Parts = Mapping[str, bool | None]
"""Parts of a rule by description: True if it holds, False if it does not, None if the numbers are inconclusive."""


@dataclass(frozen=True, kw_only=True)
class FindingResult:
    """See :class:`promptatlas.types.Finding`. ``numbers["parts"]`` has the parts of the rule."""

    number: int
    title: str
    rule: str
    verdict: Verdict
    numbers: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None


def not_measured(number: int, *, title: str, rule: str, missing: str) -> FindingResult:
    """Result of a finding for which the report lacks evidence; ``missing`` names it."""
    return FindingResult(number=number, title=title, rule=rule, verdict="not measured", missing=missing)


def judge(number: int, *, title: str, rule: str, parts: Parts, numbers: Mapping[str, Any]) -> FindingResult:
    """Result that follows from the parts of a rule."""
    return FindingResult(
        number=number,
        title=title,
        rule=f"{rule} {COMBINED}",
        verdict=verdict_of(parts),
        numbers={"parts": parts, **numbers},
    )


COMBINED = "Confirmed if every part holds; contradicted if no part holds and at least one is shown not to hold; mixed otherwise."


def verdict_of(parts: Parts) -> Verdict:
    """Verdict of a rule's parts; without parts, not measured."""
    found = list(parts.values())
    if not found:
        return "not measured"
    if all(found):
        return "confirmed"
    return "contradicted" if False in found and True not in found else "mixed"
