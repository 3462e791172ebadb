"""Faults of a body, located at the fields that the client sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

_Loc = tuple[str | int, ...]


def faults_of(error: ValidationError, *, data: bytes) -> list[dict[str, Any]]:
    """The faults that pydantic found in the JSON ``data``, without the names that it gives to the members of a union.

    The kind of a tagged union stays, since the client sent it. If the value has the JSON type of one member of a union, the
    other members' complaints about its type are left out.
    """
    faults: list[dict[str, Any]] = [
        dict(fault) for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    body = _parsed(data)
    locs = [_fields(fault["loc"], body=body, is_missing=fault["type"] == "missing") for fault in faults]
    of_members = [
        fault["type"].endswith(("_type", "literal_error")) and loc != fault["loc"]
        for fault, loc in zip(faults, locs, strict=True)
    ]
    better = _better(locs, of_members)
    return [
        {**fault, "loc": loc}
        for fault, loc, of_member in zip(faults, locs, of_members, strict=True)
        if not (of_member and loc in better)
    ]


def _better(locs: Sequence[_Loc], of_members: Sequence[bool]) -> set[_Loc]:
    """Locations of values that have a fault inside, or one that is not about their type."""
    inside = {loc[:depth] for loc in locs for depth in range(len(loc))}
    return inside | {loc for loc, of_member in zip(locs, of_members, strict=True) if not of_member}


def _fields(loc: Sequence[Any], *, body: Any, is_missing: bool) -> _Loc:
    """``loc`` without parts that do not occur in ``body``; the last part of a missing field is kept."""
    found: list[str | int] = []
    for i, part in enumerate(loc):
        if (isinstance(body, dict) and part in body) or (
            isinstance(body, list) and isinstance(part, int) and part < len(body)
        ):
            body = body[part]
        elif not (isinstance(body, dict) and part == body.get("kind")) and not (is_missing and i == len(loc) - 1):
            continue
        found.append(part)
    return tuple(found)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
