"""The check that a list in a spec has no repeated items."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from service.errors import InvalidRequest
from service.planning.specs import Loc

_MAX_SHOWN = 80


def require_distinct(values: Sequence[Hashable], *, what: str, at: Loc, field: Loc = ()) -> None:
    """Refuse a list in which a value occurs twice.

    Args:
        what: the values, in the plural, for the error.
        at: location of the list. field: location of the value inside an item of the list.

    Raises:
        InvalidRequest: at the first item that repeats an earlier one.
    """
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value in first:
            raise InvalidRequest(
                f"Expected distinct {what}; item {index} repeats item {first[value]}: {repr(value)[:_MAX_SHOWN]}.",
                loc=(*at, index, *field),
            )
        first[value] = index
