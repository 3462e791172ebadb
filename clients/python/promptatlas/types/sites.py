"""Types of reads: sites, layers, positions, and how rows are reduced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from promptatlas.types.wire import RequestBody


@dataclass(frozen=True)
class NamedSite:
    """A tensor that every hosted model has.

    Attributes:
        name: as requests and results spell it.
        alias: its TransformerLens name, if it has one; of a layered site, the part after ``blocks.{layer}.``. On models with
            norms after attention and MLP, ``hook_attn_out`` and ``hook_mlp_out`` are other tensors.
        layered: there is one in each block.
    """

    name: str
    alias: str | None = None
    layered: bool = False


NAMED_SITES = (
    NamedSite("embed", "hook_embed"),
    NamedSite("resid_pre", "hook_resid_pre", layered=True),
    NamedSite("resid_post", "hook_resid_post", layered=True),
    NamedSite("attn_out", "hook_attn_out", layered=True),
    NamedSite("mlp_out", "hook_mlp_out", layered=True),
    NamedSite("attn_probs", "attn.hook_pattern", layered=True),
    NamedSite("final_norm"),
    NamedSite("logits", "hook_logits"),
)
"""In the order in which ``GET /v1/models`` lists them. ``service/engine/model/sites.py`` finds each in a model."""

_BLOCK_ALIAS = re.compile(r"blocks\.(\d+)\.(.+)")
_BY_ALIAS = {(site.alias, site.layered): site for site in NAMED_SITES if site.alias is not None}


def parse_alias(name: str) -> tuple[NamedSite, int | None] | None:
    """The site and the layer that a TransformerLens name means; None for any other name."""
    match = _BLOCK_ALIAS.fullmatch(name)
    alias, layer = (name, None) if match is None else (match[2], int(match[1]))
    site = _BY_ALIAS.get((alias, layer is not None))
    return None if site is None else (site, layer)


Site = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", max_length=256)]
"""A site's name (``resid_post``), its TransformerLens alias (``blocks.3.hook_resid_post``) or a module path."""

LayerIndex = Annotated[int, Field(ge=-4096, le=4095)]
Layers = Literal["all"] | Annotated[list[LayerIndex], Field(min_length=1, max_length=1024)]
"""0-based block indices (negative ones count from the end), or all blocks."""

Position = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
PositionList = Annotated[list[Position], Field(min_length=1, max_length=65536)]
"""Text positions in the order of the result; negative ones count from the end."""


class PositionSlice(RequestBody):
    """Positions start, start+1, … stop−1, as in Python: null is open, negative counts from the end."""

    start: Position | None = None
    stop: Position | None = None


Positions = Literal["all", "last"] | PositionList | PositionSlice


class ProjectReduction(RequestBody):
    """Rows are projected by a stored map."""

    project: str = Field(min_length=1, max_length=128)


class LensReduction(RequestBody):
    """Logit lens: rows become the most probable next tokens of the final norm and head applied to each state.

    Tensors ``{site}.{layer}.lens_ids`` and ``.lens_logprobs`` `[n_rows, lens]`, most probable first.
    """

    lens: int = Field(ge=1, le=100)


class NearestReduction(RequestBody):
    """Rows become the tokens with the nearest embeddings, by Euclidean distance or 1 − cosine similarity.

    Tensors ``{site}.{layer}.nearest_ids`` and ``.nearest_distances`` `[n_rows, nearest]`, nearest first.
    """

    nearest: int = Field(ge=1, le=100)
    metric: Literal["euclidean", "cosine"] = "euclidean"


Reduction = Literal["mean", "norm"] | ProjectReduction
TokenReduction = LensReduction | NearestReduction
"""Reductions of states to tokens; the tokens' texts are in the metadata's ``tokens``, by id."""

DType = Literal["float32", "float16", "bfloat16"]

Sites = Annotated[list[Site], Field(min_length=1, max_length=256)]

TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=1_048_576)]
Text = Annotated[str, StringConstraints(max_length=16_777_216)]
Inputs = Annotated[list[Text | TokenIds], Field(min_length=1, max_length=4096)]
"""Texts, or lists of token ids."""
