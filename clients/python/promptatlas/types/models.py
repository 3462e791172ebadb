"""Models that a server hosts, and what it allows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.wire import ListPage, ResponseBody


class ModelEntry(ResponseBody):
    """One model of the list: a base model, or a served prompt as ``base:name`` with its base in ``parent``.

    created: Unix time in seconds, as OpenAI has it.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "promptatlas"
    parent: str | None = None
    root: str


class ModelCard(ModelEntry):
    """A model in full. ``sites``: all names that activations take. ``revision``: sha256 over the weights' files."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int | None = None
    vocab_size: int
    n_positions: int
    dtype: str
    device: str
    revision: str
    sites: list[str]
    attention: str | None = None
    architecture: str | None = None
    has_chat_template: bool = False


class ModelList(ListPage[ModelEntry]):
    """Answer of ``GET /v1/models``."""


class ReadModel(ResponseBody):
    """A model that only workers load, for harvests: an encoder–decoder. n_positions: tokens a side; None: any number."""

    name: str
    architecture: str
    n_encoder_layers: int
    n_decoder_layers: int
    d_model: int
    n_positions: int | None = None
    sites: list[str]


class Capabilities(ResponseBody):
    """Limits of this server, and the versions of what it is built of.

    max_batch: rows decoding together. max_waiting: requests queued behind them. max_tokens: input and generated tokens
    of one row. max_json_bytes: the largest result sent as JSON. max_timeout_s: the longest deadline of a request.
    max_harvest_bytes: of the shards of one harvest. read_models: models that harvests can read in addition to the hosted
    ones. run_kinds: kinds of runs that exist.
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
    prompt_kinds: list[str] = Field(default_factory=list)
    run_kinds: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
