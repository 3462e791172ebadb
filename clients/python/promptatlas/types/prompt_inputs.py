"""Inputs of the OpenAI-compatible routes: texts, token ids, and vectors in place of token embeddings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from promptatlas.types.sites import Text, TokenIds

PromptInput = (
    Text
    | Annotated[list[Text], Field(min_length=1, max_length=4096)]
    | TokenIds
    | Annotated[list[TokenIds], Field(min_length=1, max_length=4096)]
)
"""One input or several."""

PromptEmbeds = (
    Annotated[str, Field(min_length=1)]
    | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=4096)]
)
"""One input or several, as base64 of a safetensors file or of torch's zip file."""


def inputs_in(prompt: PromptInput) -> list[str | list[int]]:
    """The inputs of a field that takes one of them, or several."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt[0], int):
        return [[token for token in prompt if isinstance(token, int)]]
    return [item for item in prompt if not isinstance(item, int)]
