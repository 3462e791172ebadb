"""What the engine reports, in OpenAI's shapes: completions and chat, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
    TopLogprob,
    Usage,
)
from promptatlas.types import TokenLogprob as ChatToken

from service.engine.requests import Delta, RowDone, TokenLogprob

_LOWEST = -9999.0  # JSON has no minus infinity; OpenAI's servers write this


@dataclass
class _Row:
    text: list[str] = field(default_factory=list)
    tokens: list[TokenLogprob] = field(default_factory=list)
    done: RowDone | None = None


class Tally:
    """Gathers what happens to the rows of one request.

    Args:
        n: rows an input.
    """

    def __init__(self, *, n: int) -> None:
        self._n = n
        self._rows: dict[int, _Row] = {}

    def add(self, happening: Delta | RowDone) -> None:
        """Take what happened to one row."""
        row = self._rows.setdefault(happening.row, _Row())
        if isinstance(happening, RowDone):
            row.done = happening
        else:
            row.text.append(happening.text)
            row.tokens.extend(happening.logprobs)

    @property
    def usage(self) -> Usage:
        """Token counts; an input counts once, however many rows continue it."""
        done = {index: row.done for index, row in self._rows.items() if row.done is not None}
        n_input = sum(end.n_input for index, end in done.items() if index % self._n == 0)
        n_generated = sum(end.n_generated for end in done.values())
        return Usage(prompt_tokens=n_input, completion_tokens=n_generated, total_tokens=n_input + n_generated)

    def completion_choices(self, *, with_logprobs: bool) -> list[CompletionChoice]:
        """The choices of a whole completion, in row order."""
        return [
            CompletionChoice(
                index=index,
                text="".join(row.text),
                logprobs=columns(row.tokens) if with_logprobs else None,
                finish_reason=_reason(row.done),
            )
            for index, row in sorted(self._rows.items())
        ]

    def chat_choices(self, *, with_logprobs: bool) -> list[ChatChoice]:
        """The choices of a whole chat answer, in row order."""
        return [
            ChatChoice(
                index=index,
                message=ChatAnswer(content="".join(row.text)),
                logprobs=tokens_of(row.tokens) if with_logprobs else None,
                finish_reason=_reason(row.done),
            )
            for index, row in sorted(self._rows.items())
        ]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What every message of one answer begins with. created: Unix time in seconds."""

    id: str
    created: int
    model: str
    with_logprobs: bool

    def completion(self, choices: Sequence[CompletionChoice], *, usage: Usage | None = None) -> Completion:
        """A completion, or a chunk of one."""
        return Completion(id=self.id, created=self.created, model=self.model, choices=list(choices), usage=usage)

    def chat(self, choices: Sequence[ChatChoice], *, usage: Usage) -> ChatCompletion:
        """A whole chat answer."""
        return ChatCompletion(id=self.id, created=self.created, model=self.model, choices=list(choices), usage=usage)

    def chat_chunk(self, choices: Sequence[ChatChunkChoice], *, usage: Usage | None = None) -> ChatCompletionChunk:
        """A chunk of a chat answer."""
        return ChatCompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=list(choices), usage=usage
        )


def completion_chunk(happening: Delta | RowDone, *, head: Head) -> Completion | None:
    """What a completion's stream says of it; None when it is nothing to a client."""
    choice = CompletionChoice(index=happening.row, text="")
    if isinstance(happening, RowDone):
        choice.finish_reason = happening.finish_reason
    else:
        choice.text = happening.text
        choice.logprobs = columns(happening.logprobs) if head.with_logprobs and happening.logprobs else None
        if not choice.text and choice.logprobs is None:
            return None
    return head.completion([choice])


def chat_chunk(happening: Delta | RowDone, *, head: Head) -> ChatCompletionChunk | None:
    """What a chat's stream says of it; None when it is nothing to a client."""
    choice = ChatChunkChoice(index=happening.row, delta=ChatDelta())
    if isinstance(happening, RowDone):
        choice.finish_reason = happening.finish_reason
    else:
        choice.delta.content = happening.text
        choice.logprobs = tokens_of(happening.logprobs) if head.with_logprobs and happening.logprobs else None
        if not happening.text and choice.logprobs is None:
            return None
    return head.chat_chunk([choice])


def columns(tokens: Sequence[TokenLogprob]) -> CompletionLogprobs:
    """Log-probabilities as completions write them: one column a property."""
    return CompletionLogprobs(
        tokens=[token.text for token in tokens],
        token_logprobs=[None if token.logprob is None else _finite(token.logprob) for token in tokens],
        top_logprobs=[_alternatives(token) for token in tokens],
        text_offset=[token.text_offset for token in tokens],
    )


def tokens_of(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """Log-probabilities as chats write them: one object a token."""
    return ChatLogprobs(
        content=[
            ChatToken(**_named(token.text, token.logprob or 0.0), top_logprobs=_tops(token.top)) for token in tokens
        ]
    )


def _tops(top: Iterable[tuple[int, str, float]]) -> list[TopLogprob]:
    return [TopLogprob(**_named(text, logprob)) for _, text, logprob in top]


def _named(text: str, logprob: float) -> dict[str, object]:
    return {"token": text, "logprob": _finite(logprob), "bytes": list(text.encode())}


def _alternatives(token: TokenLogprob) -> dict[str, float] | None:
    """Alternatives by text, the token itself among them; of several with one text, the likeliest counts."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for text, logprob in [*((text, logprob) for _, text, logprob in token.top), (token.text, token.logprob)]:
        found[text] = max(found.get(text, _LOWEST), _finite(logprob))
    return found


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST)


def _reason(done: RowDone | None) -> FinishReason | None:
    return None if done is None else done.finish_reason
