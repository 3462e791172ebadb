"""Locations in an uploaded file, and errors that name them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from service.errors import InvalidRequest

_MAX_SHOWN = 60


@dataclass(frozen=True)
class Location:
    """A location in an uploaded file. name: as shown in errors, e.g. ``Line 17``; loc: as in the wire contract."""

    name: str
    loc: tuple[str | int, ...]

    @classmethod
    def line(cls, number: int) -> Location:
        """A line, numbered from 1."""
        return cls(f"Line {number}", ("body", number))

    def error(self, expected: str, *, got: str) -> InvalidRequest:
        """Error for a value at this location that is not as expected."""
        return InvalidRequest(f"{self.name}: expected {expected}, got {got}.", loc=self.loc)


def describe(value: object) -> str:
    """Short description of a JSON value; text is quoted and truncated."""
    if isinstance(value, str):
        shown = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}…"
        return f"the text {json.dumps(shown, ensure_ascii=False)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"
