"""Parsing and dumping of run specs; faults are located in the JSON that the client sent."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from promptatlas.types import RequestBody
from pydantic import ValidationError

from service.errors import AtlasError, InvalidRequest

Spec = TypeVar("Spec", bound=RequestBody)
Loc = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of a spec. loc: its location in the request."""

    loc: Loc
    msg: str


class BrokenSpec(InvalidRequest):
    """A spec that does not match the type of its kind. faults: all of them; the first is the error itself."""

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


def error_at(error: AtlasError, *, loc: Loc) -> AtlasError:
    """The same error at another location."""
    return type(error)(error.detail, loc=loc, retry_after_s=error.retry_after_s)


def parse_spec(spec_type: type[Spec], value: Mapping[str, Any], *, at: Loc) -> Spec:
    """``value`` as a spec of type ``spec_type``.

    Args:
        at: location of the spec in the request.

    Raises:
        BrokenSpec: ``value`` does not match the type; has all faults.
    """
    try:
        # Validated as JSON: strict mode then means JSON types, not Python types.
        return spec_type.model_validate_json(json.dumps(value))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [Fault(loc=at + loc, msg=message) for loc, message in _readable(found, value)]
    except (RecursionError, ValueError):
        faults = [
            Fault(
                loc=at,
                msg="Expected JSON of moderate depth and numbers of moderate length; the spec exceeds what can be parsed.",
            )
        ]
    raise BrokenSpec(faults[0].msg, loc=faults[0].loc, faults=faults)


def dump_spec(spec: RequestBody) -> dict[str, Any]:
    """The spec as JSON, with all defaults."""
    return spec.model_dump(mode="json", by_alias=True)


def _readable(found: Sequence[Any], value: Mapping[str, Any]) -> list[tuple[Loc, str]]:
    """Faults by their location in ``value``; of a union only the faults of the member that matches best."""
    located = [(*_locate(fault["loc"], value), str(fault["msg"])) for fault in found]
    deepest: defaultdict[Loc, int] = defaultdict(int)
    for loc, union, _ in located:
        if union is not None:
            deepest[union] = max(deepest[union], len(loc))
    return [(loc, msg) for loc, union, msg in located if union is None or len(loc) == deepest[union]]


def _locate(loc: Loc, value: Any) -> tuple[Loc, Loc | None]:
    """Location of a fault in ``value``, without the type names that pydantic inserts, and location of its union.

    The union is None for a fault outside any union, or inside one that is discriminated by ``kind``.
    """
    path: list[str | int] = []
    union: Loc | None = None
    tag = _kind_of(value)
    for i, part in enumerate(loc):
        if part == tag:
            tag = None  # a field may have the name of its kind: {"kind": "text", "text": …}
            continue
        is_last = i == len(loc) - 1
        if _has(value, part):
            value = value[part]
            tag = _kind_of(value)
        elif not (is_last and _could_be_field(part, value)):
            union = tuple(path) if union is None else union
            continue
        path.append(part)
    return tuple(path), union


def _has(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and -len(value) <= part < len(value)
    return isinstance(value, dict) and part in value


def _kind_of(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _could_be_field(part: str | int, value: Any) -> bool:
    # Field names are lower case; type names begin with a capital or contain brackets and hyphens.
    return isinstance(value, dict) and isinstance(part, str) and part.isidentifier() and not part[:1].isupper()
