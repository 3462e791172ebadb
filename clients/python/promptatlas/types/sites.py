"""Where tensors are read: sites, layers, positions, and how rows are reduced."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from promptatlas.types.wire import RequestBody

Site = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", max_length=256)]
"""A site's name (``resid_post``), its TransformerLens alias (``blocks.3.hook_resid_post``) or a module path."""

LayerIndex = Annotated[int, Field(ge=-4096, le=4095)]
Layers = Literal["all"] | Annotated[list[LayerIndex], Field(min_length=1, max_length=1024)]
"""0-based block indices, negative from the end, or all blocks."""

Position = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
PositionList = Annotated[list[Position], Field(min_length=1, max_length=65536)]
"""Text positions in the order wanted, negative from the end."""


class PositionSlice(RequestBody):
    """Positions start, start+1, … stop−1, as in Python: null is open, negative counts from the end."""

    start: Position | None = None
    stop: Position | None = None


Positions = Literal["all", "last"] | PositionList | PositionSlice


class ProjectReduction(RequestBody):
    """Rows are projected by a stored map."""

    project: str = Field(min_length=1, max_length=128)


class LensReduction(RequestBody):
    """Rows become the tokens that would be likeliest next if the residual stream ended there: final norm and head.

    Tensors ``{site}.{layer}.lens_ids`` and ``.lens_logprobs`` `[n_rows, lens]`, likeliest first.
    """

    lens: int = Field(ge=1, le=100)


class NearestReduction(RequestBody):
    """Rows become the tokens whose embeddings lie nearest: Euclidean, or 1 − cosine similarity.

    Tensors ``{site}.{layer}.nearest_ids`` and ``.nearest_distances`` `[n_rows, nearest]`, nearest first.
    """

    nearest: int = Field(ge=1, le=100)
    metric: Literal["euclidean", "cosine"] = "euclidean"


Reduction = Literal["mean", "norm"] | ProjectReduction
TokenReduction = LensReduction | NearestReduction
"""What puts tokens in the place of states; their texts are in the metadata's ``tokens``, by id."""
DType = Literal["float32", "float16", "bfloat16"]

Sites = Annotated[list[Site], Field(min_length=1, max_length=256)]

TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=1_048_576)]
Text = Annotated[str, StringConstraints(max_length=16_777_216)]
Inputs = Annotated[list[Text | TokenIds], Field(min_length=1, max_length=4096)]
"""Texts, or lists of token ids."""
