"""Limits of what is kept: an age, a size, or both, as settings write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

Kept = Literal["events", "checkpoints", "outputs", "harvests", "maps"]
"""Classes of objects with limits of their own. outputs: of runs that are neither harvests nor maps."""

_AGE = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[dh])")
_SIZE = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>[KMGT]iB)")
_HOURS = {"h": 1, "d": 24}
_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What is kept of one class of objects. None: no limit.

    age: since the end of the run. n_bytes: of all objects of the class together; the oldest go first.
    """

    age: timedelta | None = None
    n_bytes: int | None = None


KEEP_ALL: Final = Keep()
"""Everything is kept."""


def parse_keep(text: str) -> Keep:
    """Parse ``30d``, ``12h``, ``200GiB``, or both separated by a comma; ValueError for any other text."""
    parts = [part.strip() for part in text.split(",")]
    ages = [match for part in parts if (match := _AGE.fullmatch(part))]
    sizes = [match for part in parts if (match := _SIZE.fullmatch(part))]
    age = timedelta(hours=int(ages[0]["number"]) * _HOURS[ages[0]["unit"]]) if ages else None
    if len(ages) > 1 or len(sizes) > 1 or len(ages) + len(sizes) != len(parts) or age == timedelta():
        raise ValueError(
            "expected an age of at least an hour in days or hours, a size in KiB, MiB, GiB or TiB, or both separated by a "
            f"comma, for example 30d,200GiB, got {text[:80]!r}"
        )
    return Keep(age=age, n_bytes=int(sizes[0]["number"]) * _BYTES[sizes[0]["unit"]] if sizes else None)
