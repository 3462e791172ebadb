"""``client.maps``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptatlas.calls import maps as calls
from promptatlas.calls import runs as run_calls
from promptatlas.calls.call import CallOptions
from promptatlas.calls.maps import MapOptions
from promptatlas.calls.runs import Spec
from promptatlas.results.maps.map import AsyncMap, Map, read_map
from promptatlas.results.runs.run import AsyncRun, Run
from promptatlas.transport.pages import AsyncPage, Page
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import MapRow

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Maps:
    """Where prompts, priors and activations lie: fitted once, looked at and added to afterwards."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def make(
        self, *, model: str, sources: Sequence[Spec], run_name: str | None = None, **options: Unpack[MapOptions]
    ) -> Run:
        """Fits a map to everything that its sources name, a layer each; ``.map()`` of the run is it.

        Args:
            sources: what is drawn, e.g. ``[{"dataset": "demo-qa", "n": 100}, {"prompts": ["qa@2"]}]``: datasets, texts,
                prompts, priors, trajectories, embeddings, each perhaps with a ``name``.
            run_name: of the run, for people, and of the map.
            options: see ``promptatlas.types.MapSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        fields, call_options = run_calls.split_options(options)
        spec = {"model": model, "sources": sources, **fields}
        return Run(self._sender.send(run_calls.create("map", spec, run_name, call_options)), sender=self._sender)

    def get(self, map_id: str, *, layer: int | None = None, **options: Unpack[CallOptions]) -> Map:
        """A map with its points; layer: those of this one only.

        Raises:
            NotFoundError: there is none; it says how far the run is that makes it.
        """
        columns, info = read_map(self._sender.fetch(calls.points(map_id, layer, options), None))
        return Map(columns, info=info, sender=self._sender)

    def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> Page[MapRow]:
        """One page of ``limit`` maps, newest first, without their points; iterating it goes through all."""
        page = self._sender.send(calls.maps(limit, after, options))
        return Page(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    def delete(self, map_id: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a map; its run stays, with the spec that would make it again."""
        self._sender.send(calls.delete(map_id, options))


class AsyncMaps:
    """Where prompts, priors and activations lie; see Maps."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def make(
        self, *, model: str, sources: Sequence[Spec], run_name: str | None = None, **options: Unpack[MapOptions]
    ) -> AsyncRun:
        """As Maps.make."""
        fields, call_options = run_calls.split_options(options)
        spec = {"model": model, "sources": sources, **fields}
        info = await self._sender.send(run_calls.create("map", spec, run_name, call_options))
        return AsyncRun(info, sender=self._sender)

    async def get(self, map_id: str, *, layer: int | None = None, **options: Unpack[CallOptions]) -> AsyncMap:
        """As Maps.get."""
        columns, info = read_map(await self._sender.fetch(calls.points(map_id, layer, options), None))
        return AsyncMap(columns, info=info, sender=self._sender)

    async def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncPage[MapRow]:
        """As Maps.list."""
        page = await self._sender.send(calls.maps(limit, after, options))
        return AsyncPage(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    async def delete(self, map_id: str, **options: Unpack[CallOptions]) -> None:
        """As Maps.delete."""
        await self._sender.send(calls.delete(map_id, options))
