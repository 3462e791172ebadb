"""From a spec's JSON to its type and back; what is wrong is named by where it stands in that JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from promptatlas.types import RequestBody
from pydantic import ValidationError

from service.errors import InvalidRequest

Spec = TypeVar("Spec", bound=RequestBody)
Loc = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with a spec. loc: where it stands in the request."""

    loc: Loc
    msg: str


class BrokenSpec(InvalidRequest):
    """A spec that is not of its kind's form. faults: all that is wrong with it."""

    def __init__(
        self,
        detail: str,
        *,
        loc: Loc | None = None,
        retry_after_s: float | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        super().__init__(detail, loc=loc, retry_after_s=retry_after_s)
        self.faults = tuple(faults)


def parse_spec(kind: type[Spec], value: Mapping[str, Any], *, at: Loc) -> Spec:
    """``value`` as a spec of its type.

    Args:
        at: where the spec stands in the request.

    Raises:
        BrokenSpec: it has not the form, with all faults.
    """
    try:
        # Through JSON, because strictness means JSON's types here and not Python's.
        return kind.model_validate_json(json.dumps(value))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [Fault(loc=at + loc, msg=message) for loc, message in _readable(found, value)]
    except (RecursionError, ValueError):
        faults = [Fault(loc=at, msg="It is nested too deeply, or holds a number of thousands of digits.")]
    raise BrokenSpec(faults[0].msg, loc=faults[0].loc, faults=faults)


def dump_spec(spec: RequestBody) -> dict[str, Any]:
    """The spec as JSON with every default in it."""
    return spec.model_dump(mode="json", by_alias=True)


def _readable(found: Sequence[Any], value: Mapping[str, Any]) -> list[tuple[Loc, str]]:
    """Faults by their place in ``value``; of the members of a union only those of the one that was meant, as it seems."""
    placed = [(*_place(fault["loc"], value), str(fault["msg"])) for fault in found]
    deepest: defaultdict[Loc, int] = defaultdict(int)
    for loc, union, _ in placed:
        if union is not None:
            deepest[union] = max(deepest[union], len(loc))
    return [(loc, msg) for loc, union, msg in placed if union is None or len(loc) == deepest[union]]


def _place(loc: Loc, value: Any) -> tuple[Loc, Loc | None]:
    """Where a fault stands in ``value``, without the names of types that pydantic puts between; and of which union it is.

    The union is told by its place; None when the fault is of none, or of one whose members are told apart by ``kind``.
    """
    place: list[str | int] = []
    union: Loc | None = None
    tag = _kind_of(value)
    for i, part in enumerate(loc):
        if part == tag:
            tag = None  # a field may be called like its kind: {"kind": "text", "text": …}
            continue
        is_last = i == len(loc) - 1
        if _has(value, part):
            value = value[part]
            tag = _kind_of(value)
        elif not (is_last and _could_be_field(part, value)):
            union = tuple(place) if union is None else union
            continue
        place.append(part)
    return tuple(place), union


def _has(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and -len(value) <= part < len(value)
    return isinstance(value, dict) and part in value


def _kind_of(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _could_be_field(part: str | int, value: Any) -> bool:
    # Fields are written in small letters, names of types begin with a capital or hold brackets and hyphens.
    return isinstance(value, dict) and isinstance(part, str) and part.isidentifier() and not part[:1].isupper()
