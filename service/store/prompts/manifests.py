"""Manifests of prompt versions, summaries and references."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from promptatlas.types.forms import FORMS, PromptForm, PromptKind, StoredKind, Where
from promptatlas.types.references import ALIAS_PATTERN, NAME_PATTERN, SHA256_PATTERN

from service.errors import DamagedArtifact, InvalidRequest

MAX_NAME = 64

_NAME = re.compile(NAME_PATTERN)
_ALIAS = re.compile(ALIAS_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

_LATER_FIELDS = ("member_kind", "members", "normal")

Loc = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Origin of a version; unknown fields are None.

    run_id: the run that tuned it. prior: as in the run's spec. seed: of the draw. parent: reference of the prompt that it
    was derived from. metrics: finite numbers by ``{split}/{metric}``.
    """

    run_id: str | None = None
    prior: Mapping[str, Any] | None = None
    seed: int | None = None
    parent: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        not_finite = [name for name, value in self.metrics.items() if not math.isfinite(value)]
        if not_finite:
            raise InvalidRequest(f"Metrics must be finite numbers; {not_finite[0]!r} is {self.metrics[not_finite[0]]}.")


@dataclass(frozen=True, kw_only=True)
class PromptManifest:
    """One version of a prompt, with the fields of the wire contract.

    sha256: content hash with prefix ``sha256:``, which is also a reference. created_at: RFC 3339, UTC. layers: layers with
    vectors of a deep prompt, all layers of a prefix, None for a soft prompt. members: content hashes of a posterior's members;
    member_kind: their kind. normal: ``n_draws`` and ``seed`` of a posterior that is a normal distribution, in place of
    members. All are None for a prompt.
    """

    name: str
    version: int
    kind: StoredKind
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
    member_kind: PromptKind | None = None
    members: tuple[str, ...] | None = None
    normal: Mapping[str, int] | None = None

    @property
    def is_posterior(self) -> bool:
        """Whether it is a posterior rather than one prompt."""
        return self.kind == "posterior"

    @property
    def n_members(self) -> int:
        """Number of members that a posterior has, or has by default; 1 for a prompt."""
        if self.normal is not None:
            return self.normal["n_draws"]
        return 1 if self.members is None else len(self.members)

    @property
    def prompt_kind(self) -> PromptKind:
        """Kind of the prompt, or of a posterior's members."""
        if self.kind == "posterior":
            if self.member_kind is None:
                raise DamagedArtifact(f"prompt {self.ref} is damaged: its manifest lacks 'member_kind'.")
            return self.member_kind
        return self.kind

    @property
    def form(self) -> PromptForm:
        """Form of the prompt, or of a posterior's members."""
        return FORMS[self.prompt_kind]

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values, with the names of the wire contract."""
        found = asdict(self)
        found["layers"] = None if self.layers is None else list(self.layers)
        # Manifests keep the fields that they had before there were posteriors, and before there were normal ones.
        for name in _LATER_FIELDS:
            if found[name] is None:
                del found[name]
        if self.members is not None:
            found["members"] = list(self.members)
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> PromptManifest:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing. Unknown fields are ignored."""
        try:
            optional = {name: found.get(name) for name in _LATER_FIELDS}
            values = {**{item.name: found[item.name] for item in fields(cls) if item.name not in optional}, **optional}
        except KeyError as error:
            raise DamagedArtifact(f"{label} is damaged: its manifest lacks {error.args[0]!r}.") from None
        if values["layers"] is not None:
            values["layers"] = tuple(values["layers"])
        if values["members"] is not None:
            values["members"] = tuple(values["members"])
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


def require_prompt(manifest: PromptManifest, *, ref: str, loc: Loc | None = None) -> PromptManifest:
    """Return the manifest; raise InvalidRequest if it is a posterior, where one prompt is expected."""
    if manifest.is_posterior:
        raise InvalidRequest(f"Expected a prompt, got {ref!r}, a posterior of {manifest.n_members} prompts.", loc=loc)
    return manifest


@dataclass(frozen=True, kw_only=True)
class PromptSummary:
    """One name in the list of prompts; kind and base are those of the newest version. aliases: version by alias."""

    name: str
    latest: int
    versions: tuple[int, ...]
    kind: StoredKind
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
    """Parse ``name``, ``name@3``, ``name@alias`` or ``sha256:…``; InvalidRequest for any other text."""
    if _SHA256.fullmatch(text):
        return Reference(sha256=text)
    name, at, selector = text.partition("@")
    if _matches(_NAME, name) and not at:
        return Reference(name=name)
    if _matches(_NAME, name) and _VERSION.fullmatch(selector):
        return Reference(name=name, version=int(selector))
    if _matches(_NAME, name) and _matches(_ALIAS, selector):
        return Reference(name=name, alias=selector)
    raise InvalidRequest(
        f"A prompt reference is name, name@3, name@alias or sha256: and 64 hexadecimal digits; got {text[:80]!r}."
    )


def check_name(name: str) -> str:
    """Return ``name``, or raise InvalidRequest if it is not a valid name."""
    if not _matches(_NAME, name):
        raise InvalidRequest(
            f"A name has 1 to {MAX_NAME} of a-z, 0-9, dot, underscore and hyphen, and begins with a letter or digit; "
            f"got {name[:80]!r}.",
            loc=("name",),
        )
    return name


def check_alias(alias: str) -> str:
    """Return ``alias``, or raise InvalidRequest if it is not a valid alias."""
    if not _matches(_ALIAS, alias):
        raise InvalidRequest(
            f"An alias has the form of a name and is not all digits, which would be a version; got {alias[:80]!r}.",
            loc=("alias",),
        )
    return alias


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= MAX_NAME and pattern.fullmatch(text) is not None
