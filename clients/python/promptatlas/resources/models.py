"""``client.models``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptatlas.calls import system
from promptatlas.calls.call import CallOptions
from promptatlas.transport.pages import AsyncPage, Page
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import ModelCard, ModelEntry

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Models:
    """The base models of a server, and the prompts served with them."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> Page[ModelEntry]:
        """One page of ``limit`` models; iterating it goes through all."""
        page = self._sender.send(system.models(limit, after, options))
        return Page(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    def get(self, model: str, **options: Unpack[CallOptions]) -> ModelCard:
        """A model in full: its sizes, revision and sites."""
        return self._sender.send(system.model(model, options))


class AsyncModels:
    """The base models of a server, and the prompts served with them."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncPage[ModelEntry]:
        """As Models.list."""
        page = await self._sender.send(system.models(limit, after, options))
        return AsyncPage(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    async def get(self, model: str, **options: Unpack[CallOptions]) -> ModelCard:
        """As Models.get."""
        return await self._sender.send(system.model(model, options))
