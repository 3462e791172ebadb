"""Regular expressions that clients send. They are matched by RE2, in time that is linear in the length of the text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from service.errors import InvalidRequest

_MAX_PROGRAM_BYTES = 1 << 20
_MAX_CHARACTERS = 20_000
_MAX_MATCHES = 1000
"""Each match takes linear time, so that the number of matches is bounded too."""


class LinearPattern:
    """A compiled pattern.

    Args:
        pattern: in the syntax of RE2: no look-around, no back-references.
        loc: of the pattern in the request, for errors.

    Raises:
        InvalidRequest: it is not valid, or larger than 1 MiB when compiled.
    """

    def __init__(self, pattern: str, *, loc: tuple[str | int, ...] = ()) -> None:
        self._compiled = _compile(pattern, loc=loc)

    def last(self, text: str) -> str | None:
        """The last match in a text, or its first group if the pattern has one; None without a match.

        Only the last 20,000 characters are searched, and only the first 1,000 matches in them are considered.
        """
        found = None
        for match in islice(self._compiled.finditer(text[-_MAX_CHARACTERS:]), _MAX_MATCHES):
            found = match
        if found is None:
            return None
        return found.group(1) if self._compiled.groups else found.group(0)


class _Match(Protocol):
    def group(self, number: int) -> str | None: ...


class _Compiled(Protocol):
    groups: int

    def finditer(self, text: str) -> Iterator[_Match]: ...


def _compile(pattern: str, *, loc: tuple[str | int, ...]) -> _Compiled:
    import re2  # imported late: few requests need it

    options = re2.Options()
    options.max_mem = _MAX_PROGRAM_BYTES
    options.log_errors = False
    try:
        compiled: _Compiled = re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        shown = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidRequest(
            f"Expected a regular expression in the syntax of RE2, got one with this error: {shown[:200]}.", loc=loc
        ) from None
    return compiled
