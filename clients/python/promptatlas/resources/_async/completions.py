"""``client.completions`` and ``client.chat``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy.typing as npt

from promptatlas.resources.options import SamplingOptions, model_request
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport._async.stream import AsyncStream
from promptatlas.transport.call import EVENTS, Call, reader
from promptatlas.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | npt.NDArray[Any]
Messages = Sequence[Mapping[str, Any]]


class CompletionOptions(SamplingOptions, total=False):
    """Further options of completions. logprobs: number of alternatives to return with each token's own."""

    logprobs: int
    prompt_logprobs: int
    echo: bool
    stream_options: Mapping[str, bool]


class ChatOptions(SamplingOptions, total=False):
    """Further options of chat completions."""

    max_completion_tokens: int
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: int
    stream_options: Mapping[str, bool]


class AsyncCompletions:
    """Completions of texts."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    @overload
    async def create(
        self, *, model: str, prompt: Prompt, stream: Literal[False] = False, **options: Unpack[CompletionOptions]
    ) -> Completion: ...
    @overload
    async def create(
        self, *, model: str, prompt: Prompt, stream: Literal[True], **options: Unpack[CompletionOptions]
    ) -> AsyncStream[Completion]: ...
    async def create(
        self, *, model: str, prompt: Prompt, stream: bool = False, **options: Unpack[CompletionOptions]
    ) -> Completion | AsyncStream[Completion]:
        """Completes texts, or lists of token ids.

        Args:
            model: ``base``, or ``base:ref`` to select a tuned prompt. ``prompt_ref`` selects a prompt or a mix as well.
            stream: return the completion in pieces, as they are generated.
            options: see ``promptatlas.types.CompletionRequest``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of range; nothing was sent.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        given: dict[str, Any] = {"model": model, "prompt": prompt}
        path, parse = "/v1/completions", reader(Completion)
        if stream:
            request = model_request(CompletionRequest, given={**given, "stream": True}, options=options)
            call = Call(method="POST", path=path, parse=parse, accept=EVENTS, **request)
            return await self._sender.events(call)
        request = model_request(CompletionRequest, given=given, options=options)
        call = Call(method="POST", path=path, parse=parse, **request)
        return await self._sender.send(call)


class AsyncChat:
    """Chat completions, for models with a chat template."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    @overload
    async def create(
        self, *, model: str, messages: Messages, stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion: ...
    @overload
    async def create(
        self, *, model: str, messages: Messages, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> AsyncStream[ChatCompletionChunk]: ...
    async def create(
        self, *, model: str, messages: Messages, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Answers the last message. Other arguments and errors as in AsyncCompletions.create.

        Args:
            messages: ``{"role": "system" | "user" | "assistant", "content": "…"}`` each.
        """
        given: dict[str, Any] = {"model": model, "messages": messages}
        path, parse, parse_chunk = "/v1/chat/completions", reader(ChatCompletion), reader(ChatCompletionChunk)
        if stream:
            request = model_request(ChatCompletionRequest, given={**given, "stream": True}, options=options)
            chunks = Call(method="POST", path=path, parse=parse_chunk, accept=EVENTS, **request)
            return await self._sender.events(chunks)
        request = model_request(ChatCompletionRequest, given=given, options=options)
        call = Call(method="POST", path=path, parse=parse, **request)
        return await self._sender.send(call)
