"""Harvests: runs that read the activations of a dataset, and the manifest of their shards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import DType, Layers, Positions, Reduction, Sites
from promptatlas.types.wire import RequestBody, ResponseBody

ShardFormat = Literal["safetensors", "parquet"]


class HarvestSpec(RequestBody):
    """Spec of a ``harvest`` run: activations of a dataset's texts, in shards.

    model: a hosted model, or one that only workers load (``read_models`` of the server's capabilities); the sites of an
    encoder–decoder begin with ``encoder.`` or ``decoder.``.
    split: None: all splits. n: number of texts, from the first. include_target: read input and target; otherwise the input
    only. max_tokens: longer texts are cut; None: texts longer than the model's context are left out. shard_bytes:
    approximate upper limit of a shard; the texts of one shard are computed together.
    """

    model: str = Field(min_length=1, max_length=200)
    dataset: DatasetRef
    prompt_ref: PromptRef | None = None
    split: Split | None = None
    n: int | None = Field(default=None, ge=1)
    include_target: bool = True
    template: Template | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    sites: Sites = Field(default=["resid_post"])
    layers: Layers = "all"
    positions: Positions = "all"
    reduce: Reduction | None = None
    dtype: DType = "float32"
    format: ShardFormat = "safetensors"
    shard_bytes: int = Field(default=64 << 20, ge=4096, le=4 << 30)


class HarvestShard(ResponseBody):
    """One shard of a harvest: an artifact of the run with the rows of consecutive texts."""

    path: str
    first_text: int
    n_texts: int
    n_rows: int
    n_bytes: int
    sha256: str


class HarvestManifest(ResponseBody):
    """``manifest.json`` of a harvest: contents of its shards. The shards map each row to its text, token, position and task.

    prompt: None for the model without a prompt. split: None for all splits. rows: whether a row is a token or a whole text
    (``reduce="mean"``). tensors: name to shape without the first dimension (rows). n_tokens: number of tokens read.
    n_dropped: texts left out because they are too long or lack the requested positions.
    """

    run_id: str
    model: str
    revision: str
    prompt: str | None = None
    dataset: str
    dataset_sha256: str
    split: Split | None = None
    include_target: bool = True
    sites: list[str]
    layers: list[int] | Literal["all"]
    positions: Positions = "all"
    reduce: Reduction | None = None
    dtype: DType
    format: ShardFormat
    rows: Literal["token", "text"]
    tensors: dict[str, list[int]]
    n_texts: int
    n_tokens: int
    n_rows: int
    n_dropped: int = 0
    shards: list[HarvestShard]
