"""OpenAI's formats of generated rows: completions and chat completions, complete and as chunks of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    return CompletionLogprobs(
        tokens=[token.text for token in tokens],
        token_logprobs=[None if token.logprob is None else _finite(token.logprob) for token in tokens],
        top_logprobs=[_alternatives(token) for token in tokens],
        text_offset=[token.text_offset for token in tokens],
    )


def _tokens(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """Log-probabilities in the format of chats: one object per token."""
    content = [ChatToken(**_fields(token.text, token.logprob or 0.0), top_logprobs=_top(token.top)) for token in tokens]
    return ChatLogprobs(content=content)


def _top(top: Iterable[tuple[int, str, float]]) -> list[TopLogprob]:
    return [TopLogprob(**_fields(text, logprob)) for _, text, logprob in top]


def _fields(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": _finite(logprob), "bytes": list(text.encode())}


def _alternatives(token: TokenLogprob) -> dict[str, float] | None:
    """Alternatives by text, the token itself included; of several tokens with one text the likeliest counts."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for text, logprob in [*((text, logprob) for _, text, logprob in token.top), (token.text, token.logprob)]:
        found[text] = max(found.get(text, _LOWEST), _finite(logprob))
    return found


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST)
