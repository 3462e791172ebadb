"""Checks of requests that run nothing: lengths, what can be scored, and what an ensemble can report."""

from __future__ import annotations

from collections.abc import Sequence

from service.engine.inputs import Vectors
from service.engine.prompts.cache import LoadedPrompt
from service.engine.requests import Generate
from service.errors import ContextLengthExceeded, InvalidRequest


def check_scored(request: Generate) -> None:
    """Raise InvalidRequest if log-probabilities or texts of vectors are requested: vectors are no tokens."""
    if any(isinstance(item, Vectors) for item in request.inputs):
        if request.echo:
            raise InvalidRequest("echo: expected false for vectors, which have no text, got true.", loc=("echo",))
        if request.prompt_logprobs is not None:
            raise InvalidRequest(
                f"prompt_logprobs: expected null for vectors, which are no tokens, got {request.prompt_logprobs}.",
                loc=("prompt_logprobs",),
            )


def check_ensemble(request: Generate, *, n_members: int, max_rows: int) -> None:
    """Raise InvalidRequest if an ensemble does not fit the batch, or if log-probabilities of its input are requested."""
    if n_members == 1:
        return
    if n_members > max_rows:
        raise InvalidRequest(
            f"prompt_ref: an ensemble of {n_members} prompts takes {n_members} rows of the batch, which has {max_rows}; "
            "choose fewer members with n.",
            loc=("prompt_ref",),
        )
    has_scored_input = {
        "prompt_logprobs": request.prompt_logprobs is not None,
        "echo": request.echo and request.logprobs is not None,
    }
    for name, is_requested in has_scored_input.items():
        if is_requested:
            raise InvalidRequest(
                f"{name}: an ensemble has log-probabilities of generated tokens only, not of the input.", loc=(name,)
            )


def check_lengths(
    inputs: Sequence[Sequence[int]], *, prompts: Sequence[LoadedPrompt | None], max_tokens: int, n_positions: int
) -> None:
    """Raise ContextLengthExceeded if an input, its longest prompt and its new tokens exceed ``n_positions``."""
    n_virtual = max(prompt.compiled.n_virtual if prompt is not None else 0 for prompt in prompts)
    for i, ids in enumerate(inputs):
        if n_virtual + len(ids) + max_tokens > n_positions:
            # LiteLLM recognises the first sentence, LangChain "exceeds the context window".
            raise ContextLengthExceeded(
                f"This model's maximum context length is {n_positions} tokens. The request exceeds the "
                f"context window: {n_virtual} virtual + {len(ids)} input + {max_tokens} new tokens.",
                loc=("inputs", i),
            )
