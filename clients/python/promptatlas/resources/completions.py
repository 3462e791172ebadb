"""``client.completions`` and ``client.chat``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy.typing as npt

from promptatlas.calls import running
from promptatlas.calls.running import ChatOptions, CompletionOptions
from promptatlas.transport.events import AsyncStream, Stream
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import ChatCompletion, ChatCompletionChunk, Completion

if TYPE_CHECKING:
    from typing_extensions import Unpack

Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | npt.NDArray[Any]
Messages = Sequence[Mapping[str, Any]]


class Completions:
    """Text that goes on from a prompt."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @overload
    def create(
        self, *, model: str, prompt: Prompt, stream: Literal[False] = False, **options: Unpack[CompletionOptions]
    ) -> Completion: ...
    @overload
    def create(
        self, *, model: str, prompt: Prompt, stream: Literal[True], **options: Unpack[CompletionOptions]
    ) -> Stream[Completion]: ...
    def create(
        self, *, model: str, prompt: Prompt, stream: bool = False, **options: Unpack[CompletionOptions]
    ) -> Completion | Stream[Completion]:
        """Completes texts, or lists of token ids.

        Args:
            model: ``base``, or ``base:ref`` to choose a tuned prompt; ``prompt_ref`` chooses one too, or a mix.
            stream: give the pieces as they come.
            options: see ``promptatlas.types.CompletionRequest``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of its bounds; nothing was sent.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        given = {"model": model, "prompt": prompt}
        if stream:
            return self._sender.events(running.completion_stream(given, options))
        return self._sender.send(running.completion(given, options))


class AsyncCompletions:
    """Text that goes on from a prompt; see Completions."""

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
        """As Completions.create."""
        given = {"model": model, "prompt": prompt}
        if stream:
            return await self._sender.events(running.completion_stream(given, options))
        return await self._sender.send(running.completion(given, options))


class Chat:
    """Answers to the turns of a chat, where the model has a chat template."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @overload
    def create(
        self, *, model: str, messages: Messages, stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion: ...
    @overload
    def create(
        self, *, model: str, messages: Messages, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> Stream[ChatCompletionChunk]: ...
    def create(
        self, *, model: str, messages: Messages, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Answers the last message. Arguments and errors as of Completions.create.

        Args:
            messages: ``{"role": "system" | "user" | "assistant", "content": "…"}`` each.
        """
        given = {"model": model, "messages": messages}
        if stream:
            return self._sender.events(running.chat_stream(given, options))
        return self._sender.send(running.chat(given, options))


class AsyncChat:
    """Answers to the turns of a chat; see Chat."""

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
        """As Chat.create."""
        given = {"model": model, "messages": messages}
        if stream:
            return await self._sender.events(running.chat_stream(given, options))
        return await self._sender.send(running.chat(given, options))
