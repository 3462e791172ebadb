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


class Concat(RequestBody):
    """Prompts of one kind, one after the other in front of the text. It is computed for a request and not stored.

    Virtual positions are those of the first prompt, then those of the second, and so on: vectors of soft and deep prompts,
    keys and values of prefixes. Deep prompts must have the same layers. Kinds without virtual positions are refused.
    """

    concat: list[Reference] = Field(min_length=2, max_length=64)


MAX_MEMBERS = 128
"""Largest number of prompts whose predictions one request averages."""


class Ensemble(RequestBody):
    """The posterior predictive: the mean of the members' next-token probabilities.

    ensemble: a posterior, whose members are averaged, or a list of prompts and posteriors. n: number of members, the first
    ones; None: all. Each row of the request takes n rows of the batch.
    """

    ensemble: Reference | Annotated[list[Reference], Field(min_length=1, max_length=MAX_MEMBERS)]
    n: int | None = Field(default=None, ge=1, le=MAX_MEMBERS)

    @property
    def refs(self) -> list[str]:
        """``ensemble`` as a list."""
        return [self.ensemble] if isinstance(self.ensemble, str) else list(self.ensemble)


def _tag(value: Any) -> str:
    if isinstance(value, str):
        return "reference"
    for name, form in (("ensemble", Ensemble), ("concat", Concat)):
        if isinstance(value, form) or (isinstance(value, dict) and name in value):
            return name
    return "mix"


PromptRef = Annotated[
    Annotated[Reference, Tag("reference")]
    | Annotated[Mix, Tag("mix")]
    | Annotated[Concat, Tag("concat")]
    | Annotated[Ensemble, Tag("ensemble")],
    Discriminator(_tag),
]
"""Selects a tuned prompt: a reference, a mix of several prompts, several prompts one after the other, or an ensemble whose
predictions are averaged.
"""
