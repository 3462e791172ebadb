"""Stored prompts: manifests, aliases, and the header of the native format."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from promptatlas.types.forms import PromptKind, StoredKind, Where
from promptatlas.types.references import MixPart, PromptRef, Sha256
from promptatlas.types.wire import RequestBody, ResponseBody

ContentFormat = Literal["native", "peft", "prompt_embeds", "kv"]
PeftType = Literal["PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "CPT", "PREFIX_TUNING", "CARTRIDGE"]
"""Types of PEFT adapters that prompts can be exported as: the first three for soft prompts, the others for prefixes."""

"""native: the safetensors file. peft: a zip that PEFT loads. prompt_embeds: vectors of a soft prompt. kv: keys and values."""


class NormalDraws(RequestBody):
    """Members of a posterior that is stored as a normal distribution: any number of draws, numbered from 0.

    n_draws: number of draws that an ensemble averages by default. seed: of all draws.
    """

    n_draws: int = Field(default=16, ge=1, le=1024)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)


class PromptHeader(RequestBody):
    """The JSON under ``promptatlas`` in the header of a native prompt file.

    where: for deep prompts. Only their own layers attend to ``local`` vectors; ``carried`` ones continue through the layers
    above. notes: any JSON; it is stored unchanged. member_kind: for posteriors, the kind of their members, whose tensors are
    stacked along a new first axis. normal: for posteriors that have a mean and factors instead.
    """

    kind: StoredKind
    member_kind: PromptKind | None = None
    base: str = Field(min_length=1, max_length=512)
    base_revision: str | None = None
    where: Where | None = None
    notes: Any = None
    normal: NormalDraws | None = None


class PromptManifest(ResponseBody):
    """One version of a prompt.

    layers: those that the prompt has tensors for; all layers for a prefix. sha256: content hash.
    metrics: fractions or nats by ``{split}/{metric}``. parent: reference of the prompt that tuning started from.
    members: for a posterior, the content hashes of its members, in order; member_kind: their kind. Its n_virtual, layers and
    where are those of each member. normal: for a posterior that is a normal distribution, ``n_draws`` and ``seed`` in place of
    ``members``.
    """

    name: str
    version: int
    kind: StoredKind
    n_virtual: int
    layers: list[int] | None = None
    d_model: int | None = None
    base: str
    base_revision: str | None = None
    sha256: Sha256
    created_at: datetime
    where: Where | None = None
    seed: int | None = None
    run_id: str | None = None
    prior: dict[str, Any] | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    parent: str | None = None
    notes: Any = None
    member_kind: PromptKind | None = None
    members: list[Sha256] | None = None
    normal: dict[str, int] | None = None


class PromptUsed(ResponseBody):
    """The prompt that was used for a result.

    ref: as requested. sha256: of the stored prompt; None for several prompts, whose ``parts`` have theirs.
    n_virtual: of a concatenation, the sum of its parts.
    member: index of the member that was drawn from a posterior; ``sha256`` is that member's, or the posterior's if it is a
    normal distribution.
    """

    ref: PromptRef
    sha256: str | None = None
    kind: PromptKind
    n_virtual: int
    parts: list[MixPart] | None = None
    member: int | None = None


class UploadedPrompt(PromptManifest):
    """Response of ``POST /v1/prompts``.

    warnings: reasons to check the upload, such as an adapter that names another base model than the one it was stored for.
        The response has the field only if there are some.
    """

    warnings: list[str] = Field(default_factory=list)


class PromptRow(ResponseBody):
    """One name in the list of prompts.

    latest: number of the newest version. versions: numbers of all versions. manifest: of the newest version, if the request
    includes manifests.
    """

    name: str
    latest: int
    versions: list[int]
    kind: StoredKind
    base: str
    aliases: dict[str, int] = Field(default_factory=dict)
    manifest: PromptManifest | None = None


class AliasBody(RequestBody):
    """Body of ``PUT /v1/prompts/{name}/aliases/{alias}``."""

    version: int = Field(ge=1, le=999_999_999)


class Alias(ResponseBody):
    """A movable name of a version."""

    name: str
    alias: str
    version: int


class NearToken(ResponseBody):
    """A token near a vector. distance: distance of its embedding, Euclidean or 1 − cosine similarity."""

    id: int
    text: str
    distance: float


class LensToken(ResponseBody):
    """A likely next token if the vector were the final residual stream (logit lens)."""

    id: int
    text: str
    logprob: float


class VectorTokens(ResponseBody):
    """One vector of a prompt. tensor, index: its tensor and row in the native format.

    own_radius: distance of the nearest token to the token nearest to it; None for a vector of zeros, which has no nearest
    token. lens: None if the model has no lens. moved: Euclidean distance from its draw; None if the draw is not stored.
    """

    tensor: str
    index: int
    norm: float
    nearest: list[NearToken]
    own_radius: float | None = None
    lens: list[LensToken] | None = None
    moved: float | None = None


class PromptTokens(ResponseBody):
    """Answer of ``GET /v1/prompts/{name}/versions/{v}/nearest``: nearest tokens of a prompt's vectors, and measures.

    measures: values by tensor, then by name: ``nearest_distance`` (mean), ``share_within_radius``, ``norm_ratio``,
    ``effective_rank``, ``participation_ratio``, ``mean_pairwise_distance``, and ``displacement`` if a draw is stored.
    """

    name: str
    version: int
    metric: Literal["euclidean", "cosine"]
    vectors: list[VectorTokens]
    measures: dict[str, dict[str, float]] = Field(default_factory=dict)
