"""Routes of maps: list, read, delete, and projection of new points. Runs of the kind ``map`` create maps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy.typing as npt
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from promptatlas.types import ListPage, Map, MapNeighbors, MapPoints, MapRow, NeighborMetric, ProjectBody

from service.api.engine_reads.map_points import VECTORS, gather_points
from service.api.requests.auth import Admin, Reader
from service.api.requests.bodies import JSON_TYPE, Body, body_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.parameters import After, Limit
from service.api.responses.openapi import ENGINE_ERRORS, TENSORS_TYPE, problems
from service.api.responses.tensors import accepted_types, too_large_for_json
from service.api.services import Services, ServicesDep
from service.errors import InvalidRequest
from service.map_sources.gathered_points import GatheredPoints
from service.projection.space_neighbours import MAX_NEIGHBORS
from service.store.artifacts.tensor_codec import decode, encode
from service.store.maps.points import Points, join_points
from service.store.maps.store import StoredMap

router = APIRouter(tags=["maps"])

MAX_JSON_BYTES = 64 << 20

MapId = Annotated[str, Path(max_length=100, description="Id of the map, which is the id of its run.")]

_COLUMNS = {
    TENSORS_TYPE: {"schema": {"type": "string", "format": "binary", "description": "The columns as tensors."}},
}


@router.get("/v1/maps", responses=problems(401, 403, 422, 500, 503))
async def list_maps(services: ServicesDep, _caller: Reader, limit: Limit = 20, after: After = None) -> ListPage[MapRow]:
    """List maps, newest first."""
    page = await asyncio.to_thread(services.maps.list_maps, limit=limit, after=after)
    return ListPage[MapRow](data=list(map(_row_of, page.items)), has_more=page.has_more, next=page.next)


@router.get(
    "/v1/maps/{map_id}",
    response_model=Map,
    responses={200: {"content": _COLUMNS}, **problems(401, 403, 404, 410, 413, 422, 500, 503)},
)
async def get_map(
    request: Request,
    services: ServicesDep,
    _caller: Reader,
    map_id: MapId,
    layer: Annotated[int | None, Query(description="Only points of this layer.")] = None,
) -> Response:
    """Return a map with its points in columns: as JSON, or as safetensors if `Accept` names it."""
    accept = request.headers.get("accept", "")

    def read() -> Response:
        found = services.maps.get(map_id)
        selected = None if layer is None else found.layer(layer, loc=("query", "layer"))
        points = services.maps.points(found, layer=selected)
        return _points_response(points, metadata=_metadata_of(found), accept=accept)

    return await asyncio.to_thread(read)


@router.get("/v1/maps/{map_id}/neighbors", responses=problems(401, 403, 404, 410, 422, 500, 503))
async def neighbors(
    services: ServicesDep,
    _caller: Reader,
    map_id: MapId,
    point: Annotated[int, Query(ge=0, description="Index of the point among the points of its layer.")],
    layer: Annotated[
        int | None, Query(description="Layer of the point; may be omitted if the map has only one.")
    ] = None,
    k: Annotated[int, Query(ge=1, le=MAX_NEIGHBORS, description="Number of neighbours.")] = 10,
    metric: Annotated[NeighborMetric, Query(description="Distance in the original space.")] = "euclidean",
) -> MapNeighbors:
    """Return the nearest points of a point in the original space, not on the map: exact, nearest first."""

    def read() -> MapNeighbors:
        found = services.maps.get(map_id)
        selected = _only_layer(found) if layer is None else found.layer(layer, loc=("query", "layer"))
        nearest = services.neighbours.find(found, layer=selected, point=point, k=k, metric=metric)
        columns = services.maps.points(found, layer=selected).rows(nearest.indices).lists()
        return MapNeighbors.model_validate(
            {
                **columns,
                "map": found.id,
                "point": point,
                "metric": metric,
                "index": nearest.indices.tolist(),
                "distance": nearest.distances.tolist(),
            }
        )

    return await asyncio.to_thread(read)


@router.delete("/v1/maps/{map_id}", status_code=204, responses=problems(401, 403, 404, 422, 500, 503))
async def delete(services: ServicesDep, _caller: Admin, map_id: MapId) -> None:
    """Delete a map. Its run stays, with the spec to make the map again."""
    await asyncio.to_thread(services.maps.delete, map_id)


@router.post(
    "/v1/maps/{map_id}/project",
    response_model=MapPoints,
    responses={200: {"content": _COLUMNS}, **problems(410, *ENGINE_ERRORS)},
    openapi_extra=request_body(ProjectBody, form=True, part=VECTORS),
)
async def project(
    request: Request,
    services: ServicesDep,
    _caller: Reader,
    map_id: MapId,
    body: Annotated[Body[ProjectBody], Depends(body_of(ProjectBody, part=VECTORS))],
    deadline_s: Deadline,
) -> Response:
    """Project new points onto an existing map, without refitting it. Nothing is stored.

    Sources are those of a map run, except priors. In a form, the part `vectors` holds a tensor `vectors` `[n, d_model]`,
    which is projected at each layer.
    """
    points = await while_connected(request, _project(request, services, map_id, body, deadline_s=deadline_s))
    accept = request.headers.get("accept", "")
    return await asyncio.to_thread(_points_response, points, metadata={"map": map_id}, accept=accept)


async def _project(
    request: Request, services: Services, map_id: str, body: Body[ProjectBody], *, deadline_s: float
) -> Points:
    found = await asyncio.to_thread(services.maps.get, map_id)
    spec = body.request
    layers = _layers(found, spec.layers, services)
    if not spec.sources and not body.tensors:
        raise InvalidRequest("Expected sources, or a part 'vectors'; got neither.", loc=("sources",))
    vectors = await asyncio.to_thread(_vectors, body.tensors) if body.tensors else None
    gathered = await gather_points(
        spec.sources,
        vectors=vectors,
        layers=layers,
        found=found,
        services=services,
        engine=services.engine_of(request),
        deadline_s=deadline_s,
    )
    with gathered:
        parts = [await _placed(services, found, gathered, layer, deadline_s) for layer in layers if gathered.n(layer)]
    if not parts:
        raise InvalidRequest("The sources have no points at these layers.", loc=("sources",))
    return join_points(parts)


async def _placed(
    services: Services, found: StoredMap, gathered: GatheredPoints, layer: int, deadline_s: float
) -> Points:
    left_s = max(0.0, deadline_s - services.engine.deadline_in(0))
    places = await services.placer.place(found, layer=layer, vectors=gathered.vectors(layer), timeout_s=left_s)
    return gathered.labels(layer).points(places)


def _layers(found: StoredMap, requested: Sequence[int] | None, services: Services) -> list[int]:
    """Layers to project onto, ascending. Negative ones count from the end, if the map's model is hosted."""
    if requested is None:
        return list(found.facts.layers)
    layers: set[int] = set()
    for i, layer in enumerate(requested):
        card = services.engine.last_state().models.get(found.facts.model) if layer < 0 else None
        layers.add(found.layer(layer if card is None else layer + card["n_layers"], loc=("layers", i)))
    return sorted(layers)


def _only_layer(found: StoredMap) -> int:
    layers = found.facts.layers
    if len(layers) > 1:
        raise InvalidRequest(
            f"Expected the layer of the point, because map {found.id} has {', '.join(map(str, layers))}.",
            loc=("query", "layer"),
        )
    return layers[0]


def _vectors(data: bytes) -> npt.NDArray[Any]:
    try:
        tensors = decode(data).tensors
    except InvalidRequest as error:
        raise InvalidRequest(f"Part 'vectors': {error.detail}", loc=(VECTORS,)) from None
    if VECTORS not in tensors:
        names = ", ".join(sorted(tensors))[:200] or "none"
        raise InvalidRequest(f"Expected a tensor 'vectors' in part 'vectors', got {names}.", loc=(VECTORS,))
    if tensors[VECTORS].dtype.kind != "f":
        raise InvalidRequest(f"Expected vectors of floats, got {tensors[VECTORS].dtype}.", loc=(VECTORS,))
    return tensors[VECTORS]


def _row_of(found: StoredMap) -> MapRow:
    facts = found.facts
    return MapRow.model_validate(
        {
            "id": found.id,
            "name": found.record.name,
            "model": facts.model,
            "method": facts.method,
            "layers": list(facts.layers),
            "sources": list(facts.sources),
            "n_points": facts.n_points,
            "created_at": found.record.created_at,
            "default_layer": found.default_layer,
        }
    )


def _metadata_of(found: StoredMap) -> dict[str, Any]:
    """All fields of a map except its points."""
    facts = found.facts
    return {
        **_row_of(found).model_dump(mode="json"),
        "revision": facts.revision,
        "n_components": facts.n_components,
        "quality": [dict(each) for each in facts.quality],
        "spec": dict(found.record.spec),
    }


def _points_response(points: Points, *, metadata: Mapping[str, Any], accept: str) -> Response:
    """Points in columns with ``metadata``: JSON, or safetensors if the ``Accept`` header names it."""
    if TENSORS_TYPE in accepted_types(accept):
        return Response(encode(points.tensors(), metadata=dict(metadata)), media_type=TENSORS_TYPE)
    columns = {**metadata, **points.lists()}
    body = json.dumps(columns, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(body) > MAX_JSON_BYTES:
        raise too_large_for_json(len(body), limit=MAX_JSON_BYTES, instead=f"{TENSORS_TYPE}, or a single layer")
    return Response(body, media_type=JSON_TYPE)
