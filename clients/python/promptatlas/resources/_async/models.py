"""``client.models``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from promptatlas.resources.encoding import checked, json_body
from promptatlas.resources.options import page_params
from promptatlas.transport._async.page import AsyncPage
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, options_of, reader
from promptatlas.types import (
    DetokenizeRequest,
    DetokenizeResponse,
    ListPage,
    ModelCard,
    ModelEntry,
    TokenizeRequest,
    TokenizeResponse,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncModels:
    """The base models of a server, and the prompts served with them."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncPage[ModelEntry]:
        """One page of ``limit`` models; iterating over it continues with the next pages."""
        params, parse = page_params(limit=limit, after=after), reader(ListPage[ModelEntry])
        call = Call(method="GET", path="/v1/models", parse=parse, params=params, **options_of(options))
        page = await self._sender.send(call)
        return AsyncPage(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    async def get(self, model: str, **options: Unpack[CallOptions]) -> ModelCard:
        """The card of a model: its sizes, revision and sites."""
        path = f"/v1/models/{quote(model, safe=':@')}"
        call = Call(method="GET", path=path, parse=reader(ModelCard), **options_of(options))
        return await self._sender.send(call)

    async def tokenize(
        self, model: str, *, prompt: str, add_special_tokens: bool = True, **options: Unpack[CallOptions]
    ) -> TokenizeResponse:
        """The tokens of a text. add_special_tokens: as the model reads the text, for example with a BOS in front."""
        fields = {"model": model, "prompt": prompt, "add_special_tokens": add_special_tokens}
        body = json_body(checked(TokenizeRequest, fields))
        call = Call(method="POST", path="/tokenize", parse=reader(TokenizeResponse), body=body, **options_of(options))
        return await self._sender.send(call)

    async def detokenize(
        self, model: str, *, tokens: Sequence[int], **options: Unpack[CallOptions]
    ) -> DetokenizeResponse:
        """The text of tokens, special tokens included."""
        body = json_body(checked(DetokenizeRequest, {"model": model, "tokens": tokens}))
        parse, common = reader(DetokenizeResponse), options_of(options)
        call = Call(method="POST", path="/detokenize", parse=parse, body=body, **common)
        return await self._sender.send(call)
