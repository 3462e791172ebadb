"""Spec of the runs that read the activations of a whole dataset, and what they leave."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import DType, Layers, Positions, Reduction, Sites
from promptatlas.types.wire import RequestBody, ResponseBody

ShardFormat = Literal["safetensors", "parquet"]


class HarvestSpec(RequestBody):
    """Spec of a ``harvest`` run: the states of a dataset's texts, in shards.

    model: a hosted one, or one that only workers load (``read_models`` of the server's capabilities), of which an
    encoder–decoder has the sites ``encoder.…`` and ``decoder.…``.
    split: None: all of them. n: how many texts, the first ones. include_target: read input and target, else the input
    alone. max_tokens: read so many tokens of each text at most; None: a text that does not fit the model's context is
    left out. shard_bytes: about how large a shard becomes at most; the texts of one shard are computed together.
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
    """One shard of a harvest: an artifact of the run with the rows of consecutive texts, and of nothing else."""

    path: str
    first_text: int
    n_texts: int
    n_rows: int
    n_bytes: int
    sha256: str


class HarvestManifest(ResponseBody):
    """``manifest.json`` of a harvest: what its shards hold. Row → text, token, position and task stand in the shards.

    model, revision, prompt: what the states are of; prompt is None for the bare model. split, layers: None, ``all``: all of
    them. rows: whether a row is of a token or of a whole text (``reduce="mean"``). tensors: name to shape without the first
    dimension (rows). n_tokens: that were read. n_dropped: texts that are left out, too long or without a position asked for.
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
