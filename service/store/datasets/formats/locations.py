"""Where in a file something stands, what was found there, and the error that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass

from service.errors import InvalidRequest

_MAX_SHOWN = 60


@dataclass(frozen=True)
class Location:
    """A spot in an uploaded file. name: as errors call it, e.g. ``Line 17``; loc: the same for programs."""

    name: str
    loc: tuple[str | int, ...]

    @classmethod
    def line(cls, number: int) -> Location:
        """A line; the first one has number 1."""
        return cls(f"Line {number}", ("body", number))

    def error(self, expected: str, *, got: str) -> InvalidRequest:
        """The error for something here that is not what was expected."""
        return InvalidRequest(f"{self.name}: expected {expected}, got {got}.", loc=self.loc)


def describe(value: object) -> str:
    """A JSON value in a few words; text is quoted and cut."""
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
