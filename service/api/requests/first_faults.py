"""Validation of large bodies that stops at the first fault of each list.

pydantic collects every fault of a value. Hundreds of thousands take a second or more, during which it holds the interpreter
lock, so that no other request proceeds.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from promptatlas.types import RequestBody
from pydantic_core import SchemaValidator, core_schema

_COLLECTIONS: Final = {
    "list": core_schema.ListSchema,
    "tuple": core_schema.TupleSchema,
    "set": core_schema.SetSchema,
    "frozenset": core_schema.FrozenSetSchema,
    "dict": core_schema.DictSchema,
}


@functools.cache
def first_fault_validator(kind: type[RequestBody]) -> SchemaValidator:
    """A validator of ``kind`` that reports one fault for each invalid list, object of free keys, or member of a union."""
    schema = _stopping(kind.__pydantic_core_schema__)
    try:
        # By default, newer versions of pydantic use the existing validator of every model inside the schema.
        return SchemaValidator(schema, None, _use_prebuilt=False)
    except TypeError:
        return SchemaValidator(schema)


def _stopping(schema: Any) -> Any:
    """A copy of a core schema in which every collection stops at its first fault."""
    if isinstance(schema, list):
        return [_stopping(part) for part in schema]
    if isinstance(schema, tuple):
        return tuple(_stopping(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    copied = {name: _stopping(part) for name, part in schema.items()}
    kind = schema.get("type")
    # Earlier versions of pydantic know the option for some collections only.
    if isinstance(kind, str) and kind in _COLLECTIONS and "fail_fast" in _COLLECTIONS[kind].__annotations__:
        copied["fail_fast"] = True
    return copied
