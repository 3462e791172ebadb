"""Log-probabilities of the tokens of a prompt, in vLLM's format."""

from __future__ import annotations

from collections.abc import Sequence

from promptatlas.types import PromptLogprobs, RankedLogprob

from service.engine.requests import RankedToken

_LOWEST = -9999.0  # JSON has no minus infinity; OpenAI's servers write this


def prompt_logprobs_of(tokens: Sequence[Sequence[RankedToken]]) -> PromptLogprobs:
    """For each token of the prompt, by id: the token itself, then the most probable ones; None for the first token."""
    return [None, *({str(one.token_id): _entry(one) for one in token} for token in tokens)]


def _entry(token: RankedToken) -> RankedLogprob:
    return RankedLogprob(logprob=max(token.logprob, _LOWEST), rank=token.rank, decoded_token=token.text)
