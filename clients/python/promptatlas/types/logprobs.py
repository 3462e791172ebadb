"""Log-probabilities in OpenAI's and vLLM's formats."""

from __future__ import annotations

from pydantic import Field

from promptatlas.types.wire import ResponseBody


class CompletionLogprobs(ResponseBody):
    """Columns with one entry per token; None for a token without a prediction (the first of an echoed input)."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int]


class RankedLogprob(ResponseBody):
    """Log-probability of one token; rank 1 is the most probable."""

    logprob: float
    rank: int
    decoded_token: str


PromptLogprobs = list[dict[str, RankedLogprob] | None]
"""For each token of a prompt, by token id: the token itself and the most probable ones. None for the first token."""


class TopLogprob(ResponseBody):
    """One alternative; ``bytes`` is its text in UTF-8."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """One token with its alternatives, likeliest first."""

    top_logprobs: list[TopLogprob] = Field(default_factory=list)


class ChatLogprobs(ResponseBody):
    """Log-probabilities of the tokens of a message."""

    content: list[TokenLogprob] | None = None
