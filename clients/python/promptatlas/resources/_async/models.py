"""``client.models``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from promptatlas.resources.options import page_params
from promptatlas.transport._async.page import AsyncPage
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, options_of, reader
from promptatlas.types import ListPage, ModelCard, ModelEntry

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
