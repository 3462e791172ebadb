"""``client.maps``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from promptatlas.resources._async.map import AsyncMap, fetch_map, map_path
from promptatlas.resources._async.run import AsyncRun
from promptatlas.resources.options import Spec, page_params, split_options
from promptatlas.resources.run_requests import create_request
from promptatlas.transport._async.page import AsyncPage
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, nothing, options_of, reader
from promptatlas.types import ListPage, MapMethod, MapRow

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MapOptions(CallOptions, total=False):
    """Options of a map; see ``promptatlas.types.MapSpec``."""

    method: MapMethod
    layers: Sequence[int]
    n_components: Literal[2, 3]
    n_pca: int
    n_neighbors: int
    min_dist: float
    metric: Literal["euclidean", "cosine"]
    perplexity: float
    sample: int
    keep_vectors: bool
    seed: int


class AsyncMaps:
    """Maps of prompts, priors and activations, fitted by PCA, UMAP or t-SNE."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def make(
        self, *, model: str, sources: Sequence[Spec], run_name: str | None = None, **options: Unpack[MapOptions]
    ) -> AsyncRun:
        """Fits a map to all sources, separately for each layer; ``.map()`` of the run returns it.

        Args:
            sources: what is mapped, e.g. ``[{"dataset": "demo-qa", "n": 100}, {"prompts": ["qa@2"]}]``: datasets, texts,
                prompts, priors, trajectories, embeddings, each with an optional ``name``.
            run_name: display name of the run and of the map.
            options: see ``promptatlas.types.MapSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "sources": sources, **fields}
        info = await self._sender.send(create_request("map", spec, name=run_name, options=call_options))
        return AsyncRun(info, sender=self._sender)

    async def get(self, map_id: str, *, layer: int | None = None, **options: Unpack[CallOptions]) -> AsyncMap:
        """A map with its points; layer: only those of one layer.

        Raises:
            NotFoundError: there is no such map, or its run has not finished; it states the run's progress.
        """
        return await fetch_map(self._sender, map_id, layer=layer, options=options)

    async def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncPage[MapRow]:
        """One page of ``limit`` maps, newest first, without points; iterating over it continues with the next pages."""
        params, parse = page_params(limit=limit, after=after), reader(ListPage[MapRow])
        call = Call(method="GET", path="/v1/maps", parse=parse, params=params, **options_of(options))
        page = await self._sender.send(call)
        return AsyncPage(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    async def delete(self, map_id: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a map. Its run stays, with the spec that can make it again."""
        call = Call(method="DELETE", path=map_path(map_id), parse=nothing, **options_of(options))
        await self._sender.send(call)
