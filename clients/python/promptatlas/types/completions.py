"""Completions and chat completions, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from promptatlas.types.sampling import MaxTokens, SamplingFields
from promptatlas.types.sites import Text, TokenIds
from promptatlas.types.wire import RequestBody, ResponseBody, null_means

FinishReason = Literal["stop", "length"]
ModelId = Annotated[str, Field(min_length=1, max_length=512)]
"""``base`` or, on the OpenAI routes, ``base:ref``."""

PromptInput = (
    Text
    | Annotated[list[Text], Field(min_length=1, max_length=4096)]
    | TokenIds
    | Annotated[list[TokenIds], Field(min_length=1, max_length=4096)]
)


class StreamOptions(RequestBody):
    """include_usage: send a chunk with the token counts before ``[DONE]``."""

    include_usage: bool = False


class _Streamed(SamplingFields):
    model: ModelId
    stream: Annotated[bool, null_means(False, schema=bool | None)] = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _options_need_stream(self) -> _Streamed:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: allowed only where stream is true")
        return self


class CompletionRequest(_Streamed):
    """Body of ``POST /v1/completions``.

    prompt: a text, a list of texts, token ids of one input, or a list of token ids of several.
    logprobs: number of alternatives to return with each token's log-probability; null for no log-probabilities.
    """

    prompt: PromptInput
    max_tokens: Annotated[MaxTokens, null_means(16, schema=MaxTokens | None)] = 16
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: Annotated[bool, null_means(False, schema=bool | None)] = False

    @property
    def inputs(self) -> list[str | list[int]]:
        """``prompt`` as a list of inputs."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [item for item in self.prompt if not isinstance(item, int)]


class TextPart(RequestBody):
    """A part of a message's content; only text is supported."""

    type: Literal["text"]
    text: Text


class ChatMessage(RequestBody):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=1024)]

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatCompletionRequest(_Streamed):
    """Body of ``POST /v1/chat/completions``.

    max_tokens, max_completion_tokens: two names of the same limit; default: the rest of the context.
    top_logprobs: number of alternatives to return with each token's log-probability; requires ``logprobs``.
    """

    messages: list[ChatMessage] = Field(min_length=1, max_length=4096)
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: Annotated[bool, null_means(False, schema=bool | None)] = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    @property
    def token_limit(self) -> int | None:
        """``max_completion_tokens``, or ``max_tokens``."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @model_validator(mode="after")
    def _one_meaning(self) -> ChatCompletionRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: allowed only where logprobs is true")
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise ValueError("max_completion_tokens: differs from max_tokens; both name the same limit")
        return self


class Usage(ResponseBody):
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionLogprobs(ResponseBody):
    """Columns with one entry per token; None for a token without a prediction (the first of an echoed input)."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int]


class CompletionChoice(ResponseBody):
    """One completion; in a stream, a part of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Completion(ResponseBody):
    """Response of ``POST /v1/completions``, and each chunk of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


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


class ChatAnswer(ResponseBody):
    """The message generated by the model."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(ResponseBody):
    """One generated message."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletion(ResponseBody):
    """Response of ``POST /v1/chat/completions``."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None


class ChatDelta(ResponseBody):
    """The addition of a chunk to a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(ResponseBody):
    """A part of one message."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(ResponseBody):
    """One chunk of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
