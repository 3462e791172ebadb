"""Native prompt format, a safetensors file with kind and base in its header, and the content hash of prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types.forms import FORMS, PromptKind, StoredKind, Where
from promptatlas.types.prompts import NormalDraws

from service.errors import InvalidRequest, NotFound
from service.store.artifacts.sealed_records import canonical_json
from service.store.artifacts.tensor_codec import METADATA_KEY, decode, encode
from service.store.prompts.checks import BaseShape, Floats, check_tensors
from service.store.prompts.headers import header_from
from service.store.prompts.normal import check_normal, drawn

MAX_STORED_MEMBERS = 1024
_MEMBER_KIND = (METADATA_KEY, "member_kind")


@dataclass(frozen=True, kw_only=True)
class PromptContent:
    """What a prompt does to a model of given weights; the content hash covers it.

    tensors: as in the native format, float32; those of a posterior's members are stacked along a new first axis.
    where: ``local`` or ``carried``, for deep prompts only. member_kind: of a posterior's members. normal: of a posterior whose
    members are draws from a normal distribution, which has other tensors (``service.store.prompts.normal``).
    """

    kind: StoredKind
    tensors: Mapping[str, Floats]
    where: Where | None = None
    member_kind: PromptKind | None = None
    normal: NormalDraws | None = None

    @property
    def sha256(self) -> str:
        """The content hash; computed at each call."""
        shapes = [[name, list(values.shape)] for name, values in sorted(self.tensors.items())]
        header: dict[str, Any] = {"kind": self.kind, "where": self.where, "tensors": shapes}
        if self.member_kind is not None:
            header["member_kind"] = self.member_kind
        if self.normal is not None:
            header["normal"] = self.normal.model_dump()
        digest = hashlib.sha256(canonical_json(header))
        for _, values in sorted(self.tensors.items()):
            digest.update(b"\n")
            digest.update(np.ascontiguousarray(values).data)
        return f"sha256:{digest.hexdigest()}"

    @property
    def n_members(self) -> int:
        """Number of members of a posterior; 0 for a prompt. There are further draws of a normal distribution."""
        if self.normal is not None:
            return self.normal.n_draws
        return 0 if self.member_kind is None else len(next(iter(self.tensors.values())))

    def member(self, index: int) -> PromptContent:
        """A member of a posterior, as a prompt.

        Raises:
            NotFound: there is no such member.
        """
        if self.member_kind is None or index < 0 or (self.normal is None and index >= self.n_members):
            raise NotFound(f"Expected a member from 0 to {self.n_members - 1}, got {index}.")
        if self.normal is not None:
            tensors = drawn(self.tensors, seed=self.normal.seed, index=index)
        else:
            tensors = {name: values[index] for name, values in self.tensors.items()}
        return PromptContent(kind=self.member_kind, tensors=tensors, where=self.where)


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A prompt that fits its base model.

    Attributes:
        tensors: as in the native format, float32, sorted by name.
        base, base_revision: name and revision of the base model.
        n_virtual: number of virtual positions.
        d_model: width of the base model.
        layers: layers that the prompt has tensors for; None for soft prompts.
        where: ``local`` or ``carried``, for deep prompts only.
        notes: any JSON.
        member_kind: of a posterior's members; None for a prompt. n_virtual, layers and where are those of each member.
        normal: of a posterior that is a normal distribution.
    """

    kind: StoredKind
    tensors: Mapping[str, Floats]
    base: str
    base_revision: str
    n_virtual: int
    d_model: int
    layers: tuple[int, ...] | None = None
    where: Where | None = None
    notes: Any = None
    member_kind: PromptKind | None = None
    normal: NormalDraws | None = None

    @property
    def content(self) -> PromptContent:
        """What the content hash covers."""
        return PromptContent(
            kind=self.kind,
            tensors=self.tensors,
            where=self.where,
            member_kind=self.member_kind,
            normal=self.normal,
        )

    @property
    def members(self) -> tuple[str, ...] | None:
        """Content hashes of a posterior's members, in order; None for a prompt, and for a normal distribution."""
        if self.member_kind is None or self.normal is not None:
            return None
        return tuple(self.content.member(i).sha256 for i in range(self.content.n_members))

    @cached_property
    def sha256(self) -> str:
        """Content hash, ``sha256:`` and 64 digits, of kind, where, and the tensors' names, shapes and float32 values.

        Notes and base are excluded, because they do not change what the prompt does to a model of given weights.
        """
        return self.content.sha256

    def to_bytes(self) -> bytes:
        """The canonical native file."""
        header = {"kind": self.kind, "base": self.base, "base_revision": self.base_revision}
        normal = None if self.normal is None else self.normal.model_dump()
        optional = {"where": self.where, "notes": self.notes, "member_kind": self.member_kind, "normal": normal}
        present = {name: value for name, value in optional.items() if value is not None}
        return encode(self.tensors, metadata={**header, **present})


def make_prompt(
    kind: PromptKind,
    *,
    tensors: Mapping[str, npt.NDArray[Any]],
    base: BaseShape,
    where: Where | None = None,
    notes: Any = None,
) -> PromptFile:
    """Check arrays from an upload or a run, and make a prompt of them.

    Args:
        tensors: as in the native format; float16, float32 or float64.
        where: for deep prompts; None means ``local``.

    Raises:
        InvalidRequest: the tensors do not fit the base, or ``where`` is given for another kind.
    """
    wheres = FORMS[kind].wheres
    if not wheres and where is not None:
        kinds = " and ".join(name for name, form in FORMS.items() if form.wheres)
        raise InvalidRequest(f"'where' is for {kinds} prompts; this one is {kind}.", loc=(METADATA_KEY, "where"))
    checked = check_tensors(kind, tensors=tensors, base=base)
    return PromptFile(
        kind=kind,
        tensors=checked.tensors,
        base=base.name,
        base_revision=base.revision,
        n_virtual=checked.n_virtual,
        d_model=base.d_model,
        layers=checked.layers,
        where=where or (wheres[0] if wheres else None),
        notes=notes,
    )


def make_posterior(
    member_kind: PromptKind,
    *,
    tensors: Mapping[str, npt.NDArray[Any]],
    base: BaseShape,
    where: Where | None = None,
    notes: Any = None,
) -> PromptFile:
    """Check stacked tensors of prompts of one kind, and make a posterior of them. Its members have equal weights.

    Args:
        tensors: as in the native format of ``member_kind``, each with a new first axis of 1 to 1024 members.

    Raises:
        InvalidRequest: the counts of members differ, or a member does not fit the base.
    """
    counts = {len(values) if values.ndim else 0 for values in tensors.values()}
    if len(counts) != 1 or not 1 <= max(counts) <= MAX_STORED_MEMBERS:
        raise InvalidRequest(
            f"A posterior's tensors must all have the same 1 to {MAX_STORED_MEMBERS} members along their first axis; "
            f"these have {sorted(counts) or 'none'}."
        )
    members = [
        make_prompt(member_kind, tensors={name: values[i] for name, values in tensors.items()}, base=base, where=where)
        for i in range(counts.pop())
    ]
    stacked = {name: np.stack([member.tensors[name] for member in members]) for name in members[0].tensors}
    return replace(members[0], kind="posterior", tensors=stacked, notes=notes, member_kind=member_kind)


def make_normal_posterior(
    member_kind: PromptKind,
    *,
    tensors: Mapping[str, npt.NDArray[Any]],
    draws: NormalDraws,
    base: BaseShape,
    where: Where | None = None,
    notes: Any = None,
) -> PromptFile:
    """Check the mean and factors of a normal distribution, and make a posterior of them. Its members are draws.

    Args:
        tensors: as in ``service.store.prompts.normal``.

    Raises:
        InvalidRequest: the tensors do not belong together, or the mean does not fit the base.
    """
    mean, factors = check_normal(tensors)
    centre = make_prompt(member_kind, tensors=mean, base=base, where=where)
    return replace(centre, kind="posterior", tensors=factors, notes=notes, member_kind=member_kind, normal=draws)


def parse_native(data: bytes, *, bases: Sequence[BaseShape], base: str | None = None) -> PromptFile:
    """Check an uploaded native file against the hosted models.

    Args:
        data: the whole safetensors file.
        bases: the hosted models.
        base: the base named in the request, which must agree with the one named in the file.

    Raises:
        InvalidRequest: the file is invalid, or does not fit its base.
        NotFound: ``base`` is not hosted.
    """
    if base is not None:
        find_base(base, bases=bases)
    file = decode(data)
    header = header_from(file.metadata, base=base)
    if base is not None and header.base != base:
        raise InvalidRequest(f"The file says it is for {header.base!r}, the request says {base!r}.", loc=("base",))
    shape = next((candidate for candidate in bases if candidate.name == header.base), None)
    if shape is None:
        raise InvalidRequest(
            f"The prompt is for {header.base!r}, which is not hosted here; hosted: {_names(bases)}.",
            loc=(METADATA_KEY, "base"),
        )
    if header.base_revision not in (None, shape.revision):
        raise InvalidRequest(
            f"The prompt was made for revision {header.base_revision!r} of {shape.name}; hosted is {shape.revision!r}.",
            loc=(METADATA_KEY, "base_revision"),
        )
    if header.kind == "posterior":
        if header.member_kind is None:
            raise InvalidRequest(
                "A posterior needs 'member_kind', the kind of its members; got none.", loc=_MEMBER_KIND
            )
        if header.normal is not None:
            return make_normal_posterior(
                header.member_kind,
                tensors=file.tensors,
                draws=header.normal,
                base=shape,
                where=header.where,
                notes=header.notes,
            )
        return make_posterior(
            header.member_kind, tensors=file.tensors, base=shape, where=header.where, notes=header.notes
        )
    if header.member_kind is not None or header.normal is not None:
        name = "member_kind" if header.member_kind is not None else "normal"
        raise InvalidRequest(f"{name!r} is for posteriors; this prompt is {header.kind}.", loc=(METADATA_KEY, name))
    return make_prompt(header.kind, tensors=file.tensors, base=shape, where=header.where, notes=header.notes)


def find_base(name: str, *, bases: Sequence[BaseShape]) -> BaseShape:
    """The hosted model called ``name``. Raises NotFound if there is none."""
    for candidate in bases:
        if candidate.name == name:
            return candidate
    raise NotFound(f"No model {name[:80]!r} is hosted here; hosted: {_names(bases)}.", loc=("base",))


def _names(bases: Sequence[BaseShape]) -> str:
    return ", ".join(repr(candidate.name) for candidate in bases) or "none"
