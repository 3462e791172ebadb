"""Hosted models, and the capabilities of a server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.wire import ListPage, ResponseBody


class ModelEntry(ResponseBody):
    """One model of the list: a base model, or a prompt as ``base:name`` with its base model in ``parent``.

    created: Unix time in seconds, as in OpenAI's API.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "promptatlas"
    parent: str | None = None
    root: str


class ModelCard(ModelEntry):
    """Full description of a model.

    ``sites``: site names for activations. ``revision``: sha256 of the weight files. ``dtype_reason``: why the server chose
    the dtype.
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int | None = None
    vocab_size: int
    n_positions: int
    dtype: str
    dtype_reason: str | None = None
    device: str
    revision: str
    sites: list[str]
    attention: str | None = None
    architecture: str | None = None
    has_chat_template: bool = False


class ModelList(ListPage[ModelEntry]):
    """Response of ``GET /v1/models``."""


class ReadModel(ResponseBody):
    """An encoder–decoder model, loaded by workers for harvests. n_positions: tokens per side; None for no limit."""

    name: str
    architecture: str
    n_encoder_layers: int
    n_decoder_layers: int
    d_model: int
    n_positions: int | None = None
    sites: list[str]


class Capabilities(ResponseBody):
    """Limits of a server, and the versions of its libraries.

    max_batch: rows that decode together. max_waiting: queued requests. max_tokens: input and generated tokens of one row.
    max_json_bytes: size of a result in JSON. max_timeout_s: longest deadline of a request. max_harvest_bytes: size of the
    shards of one harvest. read_models: models that harvests can read in addition to the hosted ones. teachers: endpoints
    that ``generate`` runs can sample from. run_kinds: kinds of runs that exist.
    """

    max_batch: int
    max_waiting: int | None = None
    max_tokens: int
    max_inputs: int | None = None
    max_n: int | None = None
    max_capture_bytes: int
    max_json_bytes: int | None = None
    max_upload_bytes: int | None = None
    max_timeout_s: float | None = None
    max_harvest_bytes: int | None = None
    read_models: list[ReadModel] = Field(default_factory=list)
    teachers: list[str] = Field(default_factory=list)
    prompt_kinds: list[str] = Field(default_factory=list)
    run_kinds: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
