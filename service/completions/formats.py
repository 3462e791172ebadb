"""OpenAI's formats of generated rows: completions and chat completions, complete and as chunks of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptatlas.types import (
    ChatAnswer,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChatLogprobs,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    FinishReason,
    PromptLogprobs,
    TopLogprob,
)
from promptatlas.types import TokenLogprob as ChatToken
from pydantic import BaseModel

from service.engine.requests import TokenLogprob

_LOWEST = -9999.0  # JSON has no minus infinity; OpenAI's servers write this


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Output of one row, all of it or a part.

    text: None for a part that only ends the row. logprobs, prompt_logprobs: None unless requested.
    """

    index: int
    text: str | None = None
    logprobs: Sequence[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    prompt_logprobs: PromptLogprobs | None = None


@dataclass(frozen=True, kw_only=True)
class Format:
    """One of OpenAI's formats.

    complete, chunk: types of a complete response and of a chunk. choice, chunk_choice: make their items. opening: makes the first
    choice of each row in a stream; None where a stream starts with text.
    has_one_prompt: log-probabilities of the prompt are part of the response, not of each choice.
    """

    id_prefix: str
    complete: type[BaseModel]
    chunk: type[BaseModel]
    choice: Callable[[Piece], BaseModel]
    chunk_choice: Callable[[Piece], BaseModel]
    opening: Callable[[int], BaseModel] | None = None
    has_one_prompt: bool = False


def _completion_choice(piece: Piece) -> CompletionChoice:
    return CompletionChoice(
        index=piece.index,
        text=piece.text or "",
        logprobs=None if piece.logprobs is None else _columns(piece.logprobs),
        finish_reason=piece.finish_reason,
        prompt_logprobs=piece.prompt_logprobs,
    )


def _chat_choice(piece: Piece) -> ChatChoice:
    return ChatChoice(
        index=piece.index,
        message=ChatAnswer(content=piece.text or ""),
        logprobs=None if piece.logprobs is None else _tokens(piece.logprobs),
        finish_reason=piece.finish_reason,
    )


def _chat_chunk_choice(piece: Piece) -> ChatChunkChoice:
    return ChatChunkChoice(
        index=piece.index,
        delta=ChatDelta(content=piece.text),
        logprobs=None if piece.logprobs is None else _tokens(piece.logprobs),
        finish_reason=piece.finish_reason,
    )


def _chat_opening(index: int) -> ChatChunkChoice:
    """Announces the role of the message that follows."""
    return ChatChunkChoice(index=index, delta=ChatDelta(role="assistant", content=""))


COMPLETION = Format(
    id_prefix="cmpl",
    complete=Completion,
    chunk=Completion,
    choice=_completion_choice,
    chunk_choice=_completion_choice,
)
CHAT = Format(
    id_prefix="chatcmpl",
    complete=ChatCompletion,
    chunk=ChatCompletionChunk,
    choice=_chat_choice,
    chunk_choice=_chat_chunk_choice,
    opening=_chat_opening,
    has_one_prompt=True,
)


def _columns(tokens: Sequence[TokenLogprob]) -> CompletionLogprobs:
    """Log-probabilities in the format of completions: one column per property."""
    labels = [_labels(token) for token in tokens]
    return CompletionLogprobs(
        tokens=[names[token.token_id] for token, names in zip(tokens, labels, strict=True)],
        token_logprobs=[None if token.logprob is None else _finite(token.logprob) for token in tokens],
        top_logprobs=[_alternatives(token, labels=names) for token, names in zip(tokens, labels, strict=True)],
        text_offset=[token.text_offset for token in tokens],
    )


def _tokens(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """Log-probabilities in the format of chats: one object per token."""
    return ChatLogprobs(content=[_chat_token(token) for token in tokens])


def _chat_token(token: TokenLogprob) -> ChatToken:
    labels = _labels(token)

    def fields(token_id: int, text: str, logprob: float) -> dict[str, Any]:
        data = token.partial.get(token_id, text.encode())
        return {"token": labels[token_id], "logprob": _finite(logprob), "bytes": list(data)}

    top = [TopLogprob(**fields(*alternative)) for alternative in token.top]
    return ChatToken(**fields(token.token_id, token.text, token.logprob or 0.0), top_logprobs=top)


def _alternatives(token: TokenLogprob, *, labels: Mapping[int, str]) -> dict[str, float] | None:
    """Log-probabilities of the alternatives and of the token itself, by label."""
    if token.logprob is None:
        return None
    found = {labels[token_id]: _finite(logprob) for token_id, _, logprob in token.top}
    return {**found, labels[token.token_id]: _finite(token.logprob)}


def _labels(token: TokenLogprob) -> dict[int, str]:
    r"""Distinct names of a token and its alternatives, by id.

    The name is the token's text; of a part of a character its bytes (``bytes:\xc3``, as in OpenAI's completions); of a token
    whose name is taken by the token itself or by a more probable one, its id (``token_id:7``, as in vLLM).
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for token_id, text in ((token.token_id, token.text), *((token_id, text) for token_id, text, _ in token.top)):
        if token_id in names:
            continue
        data = token.partial.get(token_id)
        name = text if data is None else f"bytes:{repr(data)[2:-1]}"
        names[token_id] = f"token_id:{token_id}" if name in taken else name
        taken.add(name)
    return names


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST)
