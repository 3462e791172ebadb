"""A map on a server: its points, and the projection of further points onto it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np

from promptatlas.resources.encoding import Floats, as_floats, checked, json_body
from promptatlas.resources.interventions import multipart_body
from promptatlas.resources.options import PromptChoice, Spec, split_options
from promptatlas.results.maps.columns import Columns
from promptatlas.results.maps.points import Points
from promptatlas.results.maps.view import MapView, projected_points, read_map
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import SAFETENSORS, Body, Call, CallOptions, nothing, options_of, reader
from promptatlas.types import MapInfo, MapNeighbors, NeighborMetric, ProjectBody

if TYPE_CHECKING:
    from typing_extensions import Unpack

VECTORS = "vectors"


class NewPoints(CallOptions, total=False):
    """Points to project onto a map; at least one of texts, sources and vectors.

    texts: one point each, the mean over its tokens; with per="token" one point a token. prompt_ref: the prompt that the
    texts are read with.
    sources: see ``promptatlas.types.MapSpec``. vectors: `[n, d_model]`, numpy array or torch tensor.
    layers: layers of the map to project onto; None: all of them.
    """

    texts: Sequence[str]
    prompt_ref: PromptChoice | None
    per: Literal["text", "token"]
    sources: Sequence[Spec]
    vectors: Any
    layers: Sequence[int] | None


class AsyncMap(MapView):
    """A map on a server."""

    def __init__(self, columns: Columns, *, info: MapInfo, sender: AsyncSender) -> None:
        super().__init__(columns, info=info)
        self._sender = sender

    async def project(self, **options: Unpack[NewPoints]) -> Points:
        """Projects texts, sources or vectors onto the map, which does not change. One point for each of its layers.

        Args:
            options: ``texts`` (with ``prompt_ref``, ``per``), ``sources``, ``vectors`` `[n, d_model]`, ``layers``;
                ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: they do not fit the map; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        body, common = _project_body(fields), options_of(call_options)
        path = f"{map_path(self.id)}/project"
        call = Call(method="POST", path=path, parse=nothing, body=body, accept=SAFETENSORS, **common)
        return projected_points(await self._sender.fetch(call, None), info=self.info)

    async def neighbors(
        self, point: int, *, k: int = 10, metric: NeighborMetric = "euclidean", **options: Unpack[CallOptions]
    ) -> MapNeighbors:
        """The nearest points of a point in the original space, not on the map: exact, nearest first.

        Args:
            point: index into the columns of this map. ``index`` of the result counts the points of the point's layer.
            k: number of neighbours, 1 to 100. metric: ``cosine`` is 1 − cosine similarity.
            options: ``timeout_s``, ``request_id``.

        Raises:
            NotFoundError: the map's run stored no vectors.
            ValueError: there is no such point.
        """
        if not 0 <= point < len(self):
            raise ValueError(f"point: expected 0 to {len(self) - 1}, got {point}")
        layer = int(self.layer[point])
        first = int(np.argmax(self.layer == layer))
        params = {"layer": str(layer), "point": str(point - first), "k": str(k), "metric": metric}
        path = f"{map_path(self.id)}/neighbors"
        call = Call(method="GET", path=path, parse=reader(MapNeighbors), params=params, **options_of(options))
        return await self._sender.send(call)


async def fetch_map(sender: AsyncSender, map_id: str, *, layer: int | None, options: CallOptions) -> AsyncMap:
    """A map with its points; layer: only those of one layer."""
    # As tensors, since a map may have a million points.
    params = {} if layer is None else {"layer": str(layer)}
    common = options_of(options)
    call = Call(method="GET", path=map_path(map_id), parse=nothing, params=params, accept=SAFETENSORS, **common)
    columns, info = read_map(await sender.fetch(call, None))
    return AsyncMap(columns, info=info, sender=sender)


def map_path(map_id: str) -> str:
    """The path of a map's route."""
    return f"/v1/maps/{quote(map_id, safe='')}"


def _project_body(fields: Mapping[str, Any]) -> Body:
    """The body for NewPoints. ValueError if there is nothing to project, or vectors have another shape."""
    vectors = fields.get(VECTORS)
    layers = {} if fields.get("layers") is None else {"layers": fields["layers"]}
    request = checked(ProjectBody, {"sources": _sources(fields), **layers})
    if vectors is None and not request["sources"]:
        raise ValueError("project: expected texts, sources or vectors, got none of them")
    return json_body(request) if vectors is None else multipart_body(request, tensors=_vectors(vectors), part=VECTORS)


def _sources(fields: Mapping[str, Any]) -> list[Any]:
    sources = list(fields.get("sources") or ())
    text_fields = {name: fields[name] for name in ("prompt_ref", "per") if fields.get(name) is not None}
    if fields.get("texts") is not None:
        return [{"texts": fields["texts"], **text_fields}, *sources]
    if text_fields:
        raise ValueError(f"project: expected texts for {' and '.join(text_fields)}; sources have fields of their own")
    return sources


def _vectors(vectors: Any) -> dict[str, Floats]:
    floats = as_floats(vectors)
    if floats.ndim != 2 or not floats.size or not np.isfinite(floats).all():
        raise ValueError(f"vectors: expected finite numbers of shape [n, d_model], got shape {list(floats.shape)}")
    return {VECTORS: floats}
