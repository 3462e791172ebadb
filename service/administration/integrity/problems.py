"""Problems that a check finds, and their repairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A repair that loses nothing. done: what was done, for the report. cures: whether the problem is gone afterwards."""

    done: str
    perform: Callable[[], None]
    cures: bool


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One damaged or inconsistent thing. key: its file or folder. what: one sentence. advice: what the operator can do."""

    key: str
    what: str
    advice: str
    repair: Repair | None = None
