"""What the store says about prompts: manifests of versions, rows of the list."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from promptatlas.types.forms import PromptKind, Where
from promptatlas.types.references import ALIAS_PATTERN, NAME_PATTERN, SHA256_PATTERN

from service.errors import DamagedArtifact, InvalidRequest

MAX_NAME = 64

_NAME = re.compile(NAME_PATTERN)
_ALIAS = re.compile(ALIAS_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

Loc = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a version came from, as far as it is known.

    run_id: the run that tuned it. prior: its prior, as in the run's spec. seed: of its draw. parent: reference of the
    prompt that it was made from. metrics: ``{split}/{metric}`` to a finite number.
    """

    run_id: str | None = None
    prior: Mapping[str, Any] | None = None
    seed: int | None = None
    parent: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unfit = [name for name, value in self.metrics.items() if not math.isfinite(value)]
        if unfit:
            raise InvalidRequest(f"Metrics must be finite numbers; {unfit[0]!r} is {self.metrics[unfit[0]]}.")


@dataclass(frozen=True, kw_only=True)
class PromptManifest:
    """One version of a prompt: the fields of the wire contract.

    sha256: content hash with its ``sha256:`` in front, which is a reference too. created_at: RFC 3339, UTC.
    layers: of a deep prompt those that have vectors, of a prefix all, of a soft one None.
    """

    name: str
    version: int
    kind: PromptKind
    n_virtual: int
    layers: tuple[int, ...] | None
    d_model: int
    base: str
    base_revision: str
    sha256: str
    created_at: str
    where: Where | None
    seed: int | None
    run_id: str | None
    prior: Mapping[str, Any] | None
    metrics: Mapping[str, float]
    parent: str | None
    notes: Any

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, by their names on the wire."""
        found = asdict(self)
        found["layers"] = None if self.layers is None else list(self.layers)
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> PromptManifest:
        """The inverse of ``to_json``; DamagedArtifact when fields are missing. Fields of later versions are ignored."""
        try:
            values = {item.name: found[item.name] for item in fields(cls)}
        except KeyError as error:
            raise DamagedArtifact(f"{label} is damaged: its manifest lacks {error.args[0]!r}.") from None
        if values["layers"] is not None:
            values["layers"] = tuple(values["layers"])
        return cls(**values)


def require_base(
    manifest: PromptManifest, *, base: str, revision: str, ref: str | None = None, loc: Loc | None = None
) -> None:
    """Require that a prompt was tuned for a base model with these weights.

    Args:
        ref: the prompt as the client names it; default: name and version.
        loc: field that names the prompt, for the error.

    Raises:
        InvalidRequest: it was tuned for another base model, or for another revision of it.
    """
    label = manifest.ref if ref is None else repr(ref)
    if manifest.base != base:
        raise InvalidRequest(f"Expected a prompt for {base!r}, got {label} for {manifest.base!r}.", loc=loc)
    if manifest.base_revision != revision:
        raise InvalidRequest(
            f"Expected a prompt for revision {revision} of {base!r}, got {label} for revision {manifest.base_revision}, "
            "with other weights.",
            loc=loc,
        )


@dataclass(frozen=True, kw_only=True)
class PromptSummary:
    """One name in the list of prompts; kind and base are the newest version's. aliases: to version numbers."""

    name: str
    latest: int
    versions: tuple[int, ...]
    kind: PromptKind
    base: str
    aliases: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A parsed prompt reference: ``sha256``, or ``name`` with a version, an alias, or neither (the newest)."""

    sha256: str | None = None
    name: str | None = None
    version: int | None = None
    alias: str | None = None


def parse_reference(text: str) -> Reference:
    """``name``, ``name@3``, ``name@alias`` or ``sha256:…``; InvalidRequest for any other text."""
    if _SHA256.fullmatch(text):
        return Reference(sha256=text)
    name, at, selector = text.partition("@")
    if _is(_NAME, name) and not at:
        return Reference(name=name)
    if _is(_NAME, name) and _VERSION.fullmatch(selector):
        return Reference(name=name, version=int(selector))
    if _is(_NAME, name) and _is(_ALIAS, selector):
        return Reference(name=name, alias=selector)
    raise InvalidRequest(
        f"A prompt reference is name, name@3, name@alias or sha256: and 64 hexadecimal digits; this is {text[:80]!r}."
    )


def check_name(name: str) -> str:
    """``name`` itself, if prompts may be called so."""
    if not _is(_NAME, name):
        raise InvalidRequest(
            f"A name has 1 to {MAX_NAME} of a-z, 0-9, dot, underscore and hyphen, and begins with a letter or digit; "
            f"this is {name[:80]!r}.",
            loc=("name",),
        )
    return name


def check_alias(alias: str) -> str:
    """``alias`` itself, if aliases may be called so."""
    if not _is(_ALIAS, alias):
        raise InvalidRequest(
            f"An alias is written like a name and is not all digits, which would be a version; this is {alias[:80]!r}.",
            loc=("alias",),
        )
    return alias


def _is(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= MAX_NAME and pattern.fullmatch(text) is not None
