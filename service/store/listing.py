"""Lists of stored objects: pages, limits, and damaged entries, which are skipped with a warning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import DamagedArtifact, InvalidRequest

MAX_LIMIT = 1000

Item = TypeVar("Item")

OnDamage = Callable[[DamagedArtifact], None]
"""Called with each damaged entry of a list; it may raise."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Item]):
    """One page of a list. next: cursor of the next page, None on the last page."""

    items: Sequence[Item]
    has_more: bool
    next: str | None


def check_limit(limit: int) -> None:
    """InvalidRequest unless 1 ≤ ``limit`` ≤ MAX_LIMIT."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit must be 1 to {MAX_LIMIT}; it is {limit}.", loc=("limit",))


def log_damage(error: DamagedArtifact) -> None:
    """Log a damaged entry and continue: it must not hide the others."""
    _log.warning("skipped damaged entry: %s", error.detail)
