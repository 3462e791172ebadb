# Generated from promptatlas.resources._async.completions by generate_sync.py: edit that module, then run `make generate`.
"""``client.completions`` and ``client.chat``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from promptatlas.resources._async.completions import ChatOptions, CompletionOptions, Embeds, Messages, Prompt
from promptatlas.resources.encoding import embeds_text
from promptatlas.resources.options import model_request
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport._sync.stream import Stream
from promptatlas.transport.call import EVENTS, Call, reader
from promptatlas.types import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, Completion, CompletionRequest

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Completions:
    """Completions of texts, or of vectors in place of their embeddings."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @overload
    def create(
        self,
        *,
        model: str,
        prompt: Prompt | None = None,
        prompt_embeds: Embeds | Sequence[Embeds] | None = None,
        stream: Literal[False] = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion: ...
    @overload
    def create(
        self,
        *,
        model: str,
        prompt: Prompt | None = None,
        prompt_embeds: Embeds | Sequence[Embeds] | None = None,
        stream: Literal[True],
        **options: Unpack[CompletionOptions],
    ) -> Stream[Completion]: ...
    def create(
        self,
        *,
        model: str,
        prompt: Prompt | None = None,
        prompt_embeds: Embeds | Sequence[Embeds] | None = None,
        stream: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion | Stream[Completion]:
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
            return self._sender.events(call)
        request = model_request(CompletionRequest, given=given, options=options)
        call = Call(method="POST", path=path, parse=parse, **request)
        return self._sender.send(call)


class Chat:
    """Chat completions, for models with a chat template."""

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
        """Answers the last message. Other arguments and errors as in Completions.create.

        Args:
            messages: ``{"role": "system" | "user" | "assistant", "content": "…"}`` each.
        """
        given: dict[str, Any] = {"model": model, "messages": messages}
        path, parse, parse_chunk = "/v1/chat/completions", reader(ChatCompletion), reader(ChatCompletionChunk)
        if stream:
            request = model_request(ChatCompletionRequest, given={**given, "stream": True}, options=options)
            chunks = Call(method="POST", path=path, parse=parse_chunk, accept=EVENTS, **request)
            return self._sender.events(chunks)
        request = model_request(ChatCompletionRequest, given=given, options=options)
        call = Call(method="POST", path=path, parse=parse, **request)
        return self._sender.send(call)
