"""``client.completions`` and ``client.chat``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy.typing as npt

from promptatlas.resources.encoding import embeds_text
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
Embeds = Any  # a numpy array, a torch tensor, or base64 of a safetensors file or of ``torch.save(tensor)``
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
    """Completions of texts, or of vectors in place of their embeddings."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    @overload
    async def create(
        self,
        *,
        model: str,
        prompt: Prompt | None = None,
        prompt_embeds: Embeds | Sequence[Embeds] | None = None,
        stream: Literal[False] = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion: ...
    @overload
    async def create(
        self,
        *,
        model: str,
        prompt: Prompt | None = None,
        prompt_embeds: Embeds | Sequence[Embeds] | None = None,
        stream: Literal[True],
        **options: Unpack[CompletionOptions],
    ) -> AsyncStream[Completion]: ...
    async def create(
        self,
        *,
        model: str,
        prompt: Prompt | None = None,
        prompt_embeds: Embeds | Sequence[Embeds] | None = None,
        stream: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion | AsyncStream[Completion]:
        """Completes texts, lists of token ids, or vectors.

        Args:
            model: ``base``, or ``base:ref`` to select a tuned prompt. ``prompt_ref`` selects a prompt or a mix as well.
            prompt_embeds: vectors ``[n, d_model]`` or ``[1, n, d_model]`` in place of token embeddings, as a numpy array, a
                torch tensor, or base64 of a file; a list for several inputs. Their completions come before those of ``prompt``.
            stream: return the completion in pieces, as they are generated.
            options: see ``promptatlas.types.CompletionRequest``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of range; nothing was sent.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        given: dict[str, Any] = {"model": model}
        if prompt is not None:
            given["prompt"] = prompt
        if prompt_embeds is not None:
            several = isinstance(prompt_embeds, (list, tuple))
            given["prompt_embeds"] = list(map(embeds_text, prompt_embeds)) if several else embeds_text(prompt_embeds)
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
