"""Stored prompts: manifests, aliases, and the header of the native format."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from promptatlas.types.forms import PromptKind, Where
from promptatlas.types.references import Sha256
from promptatlas.types.wire import RequestBody, ResponseBody

ContentFormat = Literal["native", "peft"]


class PromptHeader(RequestBody):
    """The JSON under ``promptatlas`` in the header of a native prompt file.

    where: of a deep prompt: ``local`` vectors are seen by their own layers only, ``carried`` ones run on upwards.
    notes: anything; it is kept.
    """

    kind: PromptKind
    base: str = Field(min_length=1, max_length=512)
    base_revision: str | None = None
    where: Where | None = None
    notes: Any = None


class PromptManifest(ResponseBody):
    """One version of a prompt.

    layers: of a deep prompt, those that have vectors; of a prefix, all. sha256: of the content.
    metrics: ``{split}/{metric}`` to a fraction or nats. parent: reference of the prompt that it was made from.
    """

    name: str
    version: int
    kind: PromptKind
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


class UploadedPrompt(PromptManifest):
    """Response of ``POST /v1/prompts``.

    warnings: reasons to check the upload, such as an adapter that names another base model than the one it was stored for.
        The response has the field only if there are some.
    """

    warnings: list[str] = Field(default_factory=list)


class PromptRow(ResponseBody):
    """One name in the list of prompts; ``latest`` is the newest version's number, ``versions`` all numbers."""

    name: str
    latest: int
    versions: list[int]
    kind: PromptKind
    base: str
    aliases: dict[str, int] = Field(default_factory=dict)


class AliasBody(RequestBody):
    """Body of ``PUT /v1/prompts/{name}/aliases/{alias}``."""

    version: int = Field(ge=1, le=999_999_999)


class Alias(ResponseBody):
    """A movable name and the version that it stands for."""

    name: str
    alias: str
    version: int


class NearToken(ResponseBody):
    """A token near a vector: distance of its embedding, Euclidean or 1 − cosine similarity."""

    id: int
    text: str
    distance: float


class LensToken(ResponseBody):
    """A token that a vector would make likely next if the residual stream ended at it."""

    id: int
    text: str
    logprob: float


class VectorTokens(ResponseBody):
    """One vector of a prompt. tensor, index: where it stands in the native format.

    own_radius: distance of the nearest token to its own nearest other token; nothing is near to a vector of zeros.
    lens: None where the model has none. moved: Euclidean distance from its draw; None if no run kept that.
    """

    tensor: str
    index: int
    norm: float
    nearest: list[NearToken]
    own_radius: float | None = None
    lens: list[LensToken] | None = None
    moved: float | None = None


class PromptTokens(ResponseBody):
    """Answer of ``GET /v1/prompts/{name}/versions/{v}/nearest``: what a prompt's vectors are near to, and how spread.

    measures: by tensor, then by name: ``nearest_distance`` (mean), ``share_within_radius``, ``norm_ratio``,
    ``effective_rank``, ``participation_ratio``, ``mean_pairwise_distance``, and ``displacement`` where a draw is known.
    """

    name: str
    version: int
    metric: Literal["euclidean", "cosine"]
    vectors: list[VectorTokens]
    measures: dict[str, dict[str, float]] = Field(default_factory=dict)
