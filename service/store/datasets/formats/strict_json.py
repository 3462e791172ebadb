"""Strict JSON parser for datasets: no duplicate names, no NaN, no values that cannot be serialized again."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from service.store.datasets.formats.locations import Location, describe

MAX_DEPTH: Final = 32
MAX_FIELDS: Final = 1000

_MAX_DIGITS = 300


class _RejectedValue(ValueError):
    """Well-formed JSON that is not accepted; the message describes it."""


def parse_json(text: str, *, location: Location) -> Any:
    """Parse a JSON value; raises InvalidRequest."""
    try:
        value = _DECODER.decode(text)
        if "\\u" in text or text.count("[") + text.count("{") > MAX_DEPTH:
            _check_nested(value)
    except _RejectedValue as error:
        raise location.error("JSON", got=str(error)) from None
    except json.JSONDecodeError as error:
        column = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise location.error("JSON", got=f"something else at {column} ({error.msg})") from None
    except RecursionError:
        raise location.error("JSON", got=f"more than {MAX_DEPTH} nested lists and objects") from None
    return value


def parse_object(text: str, *, location: Location) -> dict[str, Any]:
    """Parse a JSON object; raises InvalidRequest."""
    value = parse_json(text, location=location)
    if not isinstance(value, dict):
        raise location.error("a JSON object", got=describe(value))
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise _RejectedValue(f"the name {json.dumps(duplicate[:60], ensure_ascii=True)} twice in one object")
    if len(found) > MAX_FIELDS:
        raise _RejectedValue(f"an object with {len(found)} names (limit {MAX_FIELDS})")
    return found


def _constant(name: str) -> Any:
    raise _RejectedValue(f"{name}, which is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _RejectedValue("a number that is too large")
    return value


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _RejectedValue(f"a number of {len(digits)} digits")
    return int(digits)


def _check_nested(value: Any) -> None:
    """Reject excessive depth, lone surrogates and NUL characters anywhere in the value."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, str):
            _check_text(part)
            continue
        if not isinstance(part, dict | list):
            continue
        if depth > MAX_DEPTH:
            raise _RejectedValue(f"more than {MAX_DEPTH} nested lists and objects")
        if isinstance(part, dict):
            waiting.extend((name, depth) for name in part)
        waiting.extend((inner, depth + 1) for inner in (part.values() if isinstance(part, dict) else part))


def _check_text(text: str) -> None:
    if "\0" in text:
        raise _RejectedValue("a NUL character in a text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _RejectedValue("a lone surrogate in a text") from None


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
