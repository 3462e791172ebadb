"""Names and references of prompts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, StringConstraints, Tag

from promptatlas.types.wire import RequestBody

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
# An alias that consists of digits would be ambiguous with a version number.
ALIAS_PATTERN = r"^([a-z]|[0-9]+[a-z._-])[a-z0-9._-]*$"
SHA256_PATTERN = r"^sha256:[0-9a-f]{64}$"
REFERENCE_PATTERN = (
    r"^(sha256:[0-9a-f]{64}|[a-z0-9][a-z0-9._-]{0,63}(@([1-9][0-9]{0,8}|([a-z]|[0-9]+[a-z._-])[a-z0-9._-]{0,63}))?)$"
)

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]
"""Name of a prompt."""

AliasName = Annotated[str, StringConstraints(pattern=ALIAS_PATTERN, max_length=64)]
"""A movable name of a version, e.g. ``production``."""

Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
"""Content hash: ``sha256:`` and 64 hexadecimal digits."""

Reference = Annotated[str, StringConstraints(pattern=REFERENCE_PATTERN, max_length=130)]
"""``name`` (newest version), ``name@3``, ``name@alias`` or ``sha256:…``."""


class MixPart(RequestBody):
    """One prompt of a mix with its weight."""

    ref: Reference
    weight: float


class Mix(RequestBody):
    """An affine mix of prompts of one shape. It is computed for a request and not stored."""

    mix: list[MixPart] = Field(min_length=1, max_length=64)


def _tag(value: Any) -> str:
    return "reference" if isinstance(value, str) else "mix"


PromptRef = Annotated[
    Annotated[Reference, Tag("reference")] | Annotated[Mix, Tag("mix")],
    Discriminator(_tag),
]
"""Selects a tuned prompt: a reference, or a mix of several prompts."""
