"""Calls about harvests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from promptatlas.calls.call import CallOptions
from promptatlas.calls.running import PromptChoice
from promptatlas.calls.runs import Spec, SplitName
from promptatlas.types.harvest import ShardFormat

MANIFEST = "manifest.json"


class HarvestOptions(CallOptions, total=False):
    """What a harvest takes beside model, dataset and sites; see ``promptatlas.types.HarvestSpec``.

    positions: ``all``, ``last``, a list, a slice as the contract has it (``{"start": 1}``).
    """

    prompt_ref: PromptChoice | None
    split: SplitName | None
    n: int | None
    include_target: bool
    template: Spec | None
    max_tokens: int | None
    layers: Literal["all"] | Sequence[int]
    positions: Any
    reduce: Any
    dtype: Literal["float32", "float16", "bfloat16"]
    format: ShardFormat
    shard_bytes: int
