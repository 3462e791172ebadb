"""Conversion of texts to tokens and back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from promptatlas.types.completions import ModelId
from promptatlas.types.sites import Text, TokenId
from promptatlas.types.wire import RequestBody, ResponseBody


class TokenizeRequest(RequestBody):
    """Body of ``POST /tokenize``. add_special_tokens: as the model reads the text, for example with a BOS in front."""

    model: ModelId
    prompt: Text
    add_special_tokens: bool = True


class TokenizeResponse(ResponseBody):
    """The tokens of a text. count: their number. max_model_len: positions of the model's context."""

    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizeRequest(RequestBody):
    """Body of ``POST /detokenize``."""

    model: ModelId
    tokens: Annotated[list[TokenId], Field(max_length=1_048_576)]


class DetokenizeResponse(ResponseBody):
    """The text of tokens, special tokens included."""

    prompt: str
