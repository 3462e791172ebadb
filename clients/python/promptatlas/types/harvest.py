"""Spec of the runs that read the activations of a whole dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import DType, Layers, Positions, Reduction, Sites
from promptatlas.types.wire import RequestBody, ResponseBody


class HarvestSpec(RequestBody):
    """Spec of a ``harvest`` run: the states of a dataset's texts, in shards.

    split: None: all of them. n: how many texts, the first ones. include_target: read input and target, else the input
    alone. shard_bytes: about how large a shard becomes; the texts of one shard are computed together.
    """

    model: str = Field(min_length=1, max_length=200)
    dataset: DatasetRef
    prompt_ref: PromptRef | None = None
    split: Split | None = None
    n: int | None = Field(default=None, ge=1)
    include_target: bool = True
    template: Template | None = None
    sites: Sites = Field(default=["resid_post"])
    layers: Layers = "all"
    positions: Positions = "all"
    reduce: Reduction | None = None
    dtype: DType = "float32"
    format: Literal["safetensors", "parquet"] = "safetensors"
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
    """``manifest.json`` of a harvest: what its shards hold. Row → text, token, position and task stand in the shards.

    tensors: name to shape without the first dimension (rows). model, revision, prompt: what the states are of.
    """

    model: str
    revision: str
    prompt: str | None = None
    dataset: str
    dataset_sha256: str
    split: str | None = None
    sites: list[str]
    layers: list[int] | Literal["all"]
    reduce: Reduction | None = None
    dtype: DType
    format: Literal["safetensors", "parquet"]
    tensors: dict[str, list[int]]
    n_texts: int
    n_rows: int
    n_dropped: int = 0
    shards: list[HarvestShard]
