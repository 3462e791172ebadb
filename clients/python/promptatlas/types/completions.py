"""Completions and chat completions, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from promptatlas.types.logprobs import ChatLogprobs, CompletionLogprobs, PromptLogprobs
from promptatlas.types.prompt_inputs import PromptEmbeds, PromptInput, inputs_in
from promptatlas.types.prompts import PromptUsed
from promptatlas.types.sampling import MaxTokens, SamplingFields
from promptatlas.types.sites import Text
from promptatlas.types.wire import RequestBody, ResponseBody, null_means

FinishReason = Literal["stop", "length"]
ModelId = Annotated[str, Field(min_length=1, max_length=512)]
"""``base`` or, on the OpenAI routes, ``base:ref``."""


class StreamOptions(RequestBody):
    """include_usage: send a chunk with the token counts before ``[DONE]``."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


_NonNegativeTokens = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Label = Annotated[str, Field(max_length=512)]


class _OpenAIFields(SamplingFields):
    """Fields of both of OpenAI's routes. Those after ``prompt_logprobs`` are accepted if they do not change the response.

    prompt_logprobs: number of alternatives to return with the log-probability of each token of the prompt.
    """

    model: ModelId
    stream: Annotated[bool, null_means(False, schema=bool | None)] = False
    stream_options: StreamOptions | None = None
    prompt_logprobs: int | None = Field(default=None, ge=0, le=20)
    metadata: dict[_Label, _Label] | None = Field(default=None, max_length=16)
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: _Label | None = None
    prompt_cache_key: _Label | None = None

    @model_validator(mode="after")
    def _options_need_stream(self) -> _OpenAIFields:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: allowed only where stream is true")
        if self.prompt_logprobs is not None and self.stream:
            raise ValueError("prompt_logprobs: allowed only where stream is false")
        return self


class CompletionRequest(_OpenAIFields):
    """Body of ``POST /v1/completions``.

    prompt_embeds: vectors in place of token embeddings, as base64 of a safetensors file or of ``torch.save(tensor)``; a list
        for several inputs. Their completions come first, then those of ``prompt``, as in vLLM.
    prompt: a text, a list of texts, token ids of one input, or a list of token ids of several; with ``prompt_embeds``, null
        or an empty text for none.
    max_tokens: 0 generates nothing; with ``echo`` and ``logprobs`` the response scores the text.
    logprobs: number of alternatives to return with each token's log-probability; null for no log-probabilities.
    best_of, suffix: only values that do not change the response are accepted.
    """

    prompt_embeds: PromptEmbeds | None = None
    prompt: PromptInput | None = Field(default=None, validate_default=True)
    max_tokens: Annotated[_NonNegativeTokens, null_means(16, schema=_NonNegativeTokens | None)] = 16
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: Annotated[bool, null_means(False, schema=bool | None)] = False
    best_of: int | None = None
    suffix: Literal[""] | None = None

    @field_validator("prompt")
    @classmethod
    def _one_input(cls, prompt: PromptInput | None, info: ValidationInfo) -> PromptInput | None:
        # A field that is invalid itself is not among the values.
        has_embeds = info.data.get("prompt_embeds", ()) is not None
        if prompt is None and not has_embeds:
            raise PydanticCustomError("missing", "Field required")
        return None if has_embeds and prompt == "" else prompt

    @field_validator("best_of")
    @classmethod
    def _best_of_all(cls, best_of: int | None, info: ValidationInfo) -> int | None:
        n = info.data.get("n", best_of)
        if best_of not in (None, n):
            raise ValueError(f"expected {n}, the value of n (all completions are returned), got {best_of}")
        return best_of

    @property
    def n_embeds(self) -> int:
        """Number of inputs in ``prompt_embeds``."""
        if self.prompt_embeds is None:
            return 0
        return 1 if isinstance(self.prompt_embeds, str) else len(self.prompt_embeds)

    @property
    def inputs(self) -> list[str | list[int]]:
        """``prompt`` as a list of inputs."""
        return [] if self.prompt is None else inputs_in(self.prompt)

    def loc_of_input(self, index: int | None) -> tuple[str | int, ...]:
        """Field of an input by its index among all, those of ``prompt_embeds`` first. None: of no single one."""
        of_embeds = self.n_embeds if index is None else index
        if of_embeds < self.n_embeds:
            return ("prompt_embeds",) if isinstance(self.prompt_embeds, str) else ("prompt_embeds", of_embeds)
        is_single = isinstance(self.prompt, str) or (self.prompt is not None and isinstance(self.prompt[0], int))
        return ("prompt",) if is_single or index is None else ("prompt", index - self.n_embeds)


def _without_items(value: object) -> object:
    if isinstance(value, list) and value:
        raise ValueError(f"not supported by this server: expected an empty list or null, got {len(value)} items")
    return value


_Nothing = Annotated[list[Any], Field(max_length=0), BeforeValidator(_without_items)]


class TextFormat(RequestBody):
    """Free text, the only format of responses."""

    type: Literal["text"]


class TextPart(RequestBody):
    """A part of a message's content; only text is supported."""

    type: Literal["text"]
    text: Text


class ChatMessage(RequestBody):
    """One turn of a chat.

    role: ``developer`` is another name of ``system``. name: of the participant, for chat templates that use it.
    The other fields occur in messages that a server generated; only values without content are accepted.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=1024)]
    name: Annotated[str, Field(max_length=256)] | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: _Nothing | None = None
    annotations: _Nothing | None = None

    @property
    def template_fields(self) -> dict[str, str]:
        """The message as chat templates take it."""
        role = "system" if self.role == "developer" else self.role
        fields = {"role": role, "content": self.text}
        return fields if self.name is None else {**fields, "name": self.name}

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatCompletionRequest(_OpenAIFields):
    """Body of ``POST /v1/chat/completions``.

    max_tokens, max_completion_tokens: two names of the same limit; default: the rest of the context.
    top_logprobs: number of alternatives to return with each token's log-probability; requires ``logprobs``.
    The fields after ``top_logprobs`` are accepted if they do not change the response.
    """

    messages: list[ChatMessage] = Field(min_length=1, max_length=4096)
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: Annotated[bool, null_means(False, schema=bool | None)] = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    store: Literal[False] | None = None
    response_format: TextFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    tools: _Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    functions: _Nothing | None = None
    function_call: Literal["none", "auto"] | None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: None = None
    verbosity: None = None
    web_search_options: None = None

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


class CompletionChoice(ResponseBody):
    """One completion; in a stream, a part of it. prompt_logprobs: only if requested."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None
    prompt_logprobs: PromptLogprobs | None = None


class Completion(ResponseBody):
    """Response of ``POST /v1/completions``, and each chunk of its stream.

    prompt: the member that was drawn from a posterior, or the members of an ensemble; the response has the field only then.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    prompt: PromptUsed | None = None


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
    """Response of ``POST /v1/chat/completions``. prompt_logprobs: only if requested."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None
    prompt: PromptUsed | None = None
    prompt_logprobs: PromptLogprobs | None = None


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
    prompt: PromptUsed | None = None
