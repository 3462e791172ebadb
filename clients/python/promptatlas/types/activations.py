"""Requests for activations, and their results."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from promptatlas.types.completions import ModelId
from promptatlas.types.interventions import Interventions
from promptatlas.types.prompts import PromptUsed
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import DType, Inputs, Layers, Positions, Reduction, Sites, TokenReduction
from promptatlas.types.wire import RequestBody, ResponseBody


class CaptureFields(RequestBody):
    """Fields shared by activations and trajectories.

    sites: tensors to read. layers: blocks at which to read them; ignored by sites without layers.
    reduce: null (every row), ``mean`` over the selected positions of an input, ``norm`` of each row, a projection, or tokens
    by logit lens or nearest embeddings.
    dtype: of the returned tensors.
    """

    model: ModelId
    inputs: Inputs
    sites: Sites
    layers: Layers = "all"
    reduce: Reduction | TokenReduction | None = None
    dtype: DType = "float32"


class ActivationRequest(CaptureFields):
    """Body of ``POST /v1/activations`` and ``POST /v1/activations/estimate``.

    positions: of the text; ``include_virtual`` adds the prompt's virtual positions −n…−1 before them.
    """

    prompt_ref: PromptRef | None = None
    positions: Positions = "all"
    include_virtual: bool = False
    interventions: Interventions = Field(default_factory=list)


class DivergenceRequest(RequestBody):
    """Body of ``POST /v1/activations/divergence``: two logit lenses of the same inputs, at every row of ``sites``.

    prompt_ref, against: the prompts p and q of KL(p ‖ q); null is the model without a prompt. sites: of width d_model.
    positions: of the text.
    """

    model: ModelId
    inputs: Inputs
    prompt_ref: PromptRef | None = None
    against: PromptRef | None = None
    sites: Sites = Field(default_factory=lambda: ["resid_post"])
    layers: Layers = "all"
    positions: Positions = "all"


class DivergenceResponse(ResponseBody):
    """Divergences of the logit lens, one row per token, in the order of the inputs.

    kl: by tensor name, e.g. ``resid_post.3``, KL(p ‖ q) in nats of each row. prompt, against: the prompts that were used.
    """

    row_offsets: list[int]
    token_ids: list[int]
    positions: list[int]
    kl: dict[str, list[float | None]]
    prompt: PromptUsed | None = None
    against: PromptUsed | None = None
    request_id: str


class EstimateResponse(ResponseBody):
    """Predicted cost of a request. ``bytes`` is the size of the result."""

    n_tokens: int
    bytes: int
    seconds: float


class CaptureMetadata(ResponseBody):
    """The JSON under ``promptatlas`` in the header of a result.

    attention: the attention implementation. revision: sha256 of the model's weights.
    tokens: with a lens or nearest tokens, the text of each token id in the result. vocabulary: with nearest tokens, the number
    of token embeddings (``n_tokens``) and their ``mean_norm``.
    """

    model: str
    revision: str
    prompt: PromptUsed | None = None
    dtype: str
    attention: str
    versions: dict[str, str] = Field(default_factory=dict)
    request_id: str
    tokens: dict[str, str] | None = None
    vocabulary: dict[str, float] | None = None


class ActivationsJson(ResponseBody):
    """A result with ``Accept: application/json``: each tensor as nested lists under its name.

    Tensors are additional members, e.g. ``"resid_post.3": [[…], …]``.
    """

    row_offsets: list[int]
    token_ids: list[int] | None = None
    positions: list[int] | None = None
    promptatlas: CaptureMetadata
    __pydantic_extra__: dict[str, list[Any]]
