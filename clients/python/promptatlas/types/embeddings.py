"""Embeddings of texts, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from promptatlas.types.completions import ModelId
from promptatlas.types.prompt_inputs import PromptInput, inputs_in
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import LayerIndex, Site
from promptatlas.types.wire import RequestBody, ResponseBody, null_means

_Format = Literal["float", "base64"]


class EmbeddingRequest(RequestBody):
    """Body of ``POST /v1/embeddings``.

    input: a text, a list of texts, token ids of one input, or a list of token ids of several.
    encoding_format: numbers, or base64 of little-endian float32.
    dimensions: only null; an embedding has as many values as the site.
    site: tensor to read. layer: the block, for sites that every block has. pool: over the tokens of an input.
    """

    model: ModelId
    input: PromptInput
    encoding_format: Annotated[_Format, null_means("float", schema=_Format | None)] = "float"
    dimensions: None = None
    user: str | None = Field(default=None, max_length=512)
    prompt_ref: PromptRef | None = None
    site: Site = "final_norm"
    layer: LayerIndex | None = None
    pool: Literal["mean", "last"] = "mean"

    @property
    def inputs(self) -> list[str | list[int]]:
        """``input`` as a list of inputs."""
        return inputs_in(self.input)

    @property
    def has_several_inputs(self) -> bool:
        """Whether ``input`` is a list of inputs, possibly of one."""
        return not isinstance(self.input, str) and not isinstance(self.input[0], int)


class Embedding(ResponseBody):
    """The embedding of one input: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(ResponseBody):
    """Token counts of one request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(ResponseBody):
    """Response of ``POST /v1/embeddings``: one embedding per input, in order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
