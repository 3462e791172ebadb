"""Maps: list, points, deletion, and new points placed on them. They are made by runs of kind ``map``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import numpy.typing as npt
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from promptatlas.types import ListPage, Map, MapPoints, MapRow, ProjectBody

from service.api.engine_reads.map_points import VECTORS, gather_points
from service.api.requests.auth import Admin, Reader
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.responses.maps import facts_of, points_answer, row_of
from service.api.responses.openapi import ENGINE_ERRORS, TENSORS_TYPE, problems
from service.api.services import Services, ServicesDep
from service.errors import InvalidRequest
from service.map_sources.gathered_points import GatheredPoints
from service.store.artifacts.tensor_codec import decode
from service.store.maps.points import Points, join_points
from service.store.maps.store import StoredMap
from service.store.runs.store import MAX_LIMIT

router = APIRouter(tags=["maps"])

MapId = Annotated[str, Path(max_length=100, description="A map's id, which is that of the run that made it.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
After = Annotated[str | None, Query(max_length=100, description="The cursor `next` of the page before.")]

_COLUMNS = {
    TENSORS_TYPE: {"schema": {"type": "string", "format": "binary", "description": "The columns as tensors."}},
}


@router.get("/v1/maps", responses=problems(401, 403, 422, 500, 503))
async def list_maps(services: ServicesDep, _caller: Reader, limit: Limit = 20, after: After = None) -> ListPage[MapRow]:
    """Maps, newest first."""
    page = await asyncio.to_thread(services.maps.list_maps, limit=limit, after=after)
    return ListPage[MapRow](data=list(map(row_of, page.items)), has_more=page.has_more, next=page.next)


@router.get(
    "/v1/maps/{map_id}",
    response_model=Map,
    responses={200: {"content": _COLUMNS}, **problems(401, 403, 404, 413, 422, 500, 503)},
)
async def get_map(
    request: Request,
    services: ServicesDep,
    _caller: Reader,
    map_id: MapId,
    layer: Annotated[int | None, Query(description="Points of this layer only.")] = None,
) -> Response:
    """A map with its points in columns: JSON, or safetensors when `Accept` names it."""
    accept = request.headers.get("accept", "")

    def read() -> Response:
        found = services.maps.get(map_id)
        wanted = None if layer is None else found.layer(layer, loc=("query", "layer"))
        points = services.maps.points(found, layer=wanted)
        return points_answer(points, beside=facts_of(found), accept=accept)

    return await asyncio.to_thread(read)


@router.delete("/v1/maps/{map_id}", status_code=204, responses=problems(401, 403, 404, 422, 500, 503))
async def delete(services: ServicesDep, _caller: Admin, map_id: MapId) -> None:
    """Delete a map. Its run stays, with the spec that would make it again."""
    await asyncio.to_thread(services.maps.delete, map_id)


@router.post(
    "/v1/maps/{map_id}/project",
    response_model=MapPoints,
    responses={200: {"content": _COLUMNS}, **problems(*ENGINE_ERRORS)},
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
    """Place new points on a map that is there; nothing is fitted, and nothing stored.

    Sources are those of a map run, priors excepted; in a form, the part `vectors` has a tensor `vectors` `[n, d_model]`,
    which is placed at each layer.
    """
    work = _project(services, map_id, body, deadline_s=deadline_s)
    points = await while_connected(request, work)
    accept = request.headers.get("accept", "")
    return await asyncio.to_thread(points_answer, points, beside={"map": map_id}, accept=accept)


async def _project(services: Services, map_id: str, body: Body[ProjectBody], *, deadline_s: float) -> Points:
    found = await asyncio.to_thread(services.maps.get, map_id)
    spec = body.request
    layers = _layers(found, spec.layers, services)
    if not spec.sources and not body.tensors:
        raise InvalidRequest("Expected sources, or a part 'vectors'; got neither.", loc=("sources",))
    vectors = await asyncio.to_thread(_vectors, body.tensors) if body.tensors else None
    gathered = await gather_points(
        spec.sources, vectors=vectors, layers=layers, found=found, services=services, deadline_s=deadline_s
    )
    with gathered:
        parts = [await _placed(services, found, gathered, layer, deadline_s) for layer in layers if gathered.n(layer)]
    if not parts:
        raise InvalidRequest("The sources have no points at these layers.", loc=("sources",))
    return join_points(parts)


async def _placed(
    services: Services, found: StoredMap, gathered: GatheredPoints, layer: int, deadline_s: float
) -> Points:
    left_s = max(0.0, deadline_s - services.hub.deadline_in(0))
    places = await services.placer.place(found, layer=layer, vectors=gathered.vectors(layer), timeout_s=left_s)
    return gathered.labels(layer).points(places)


def _layers(found: StoredMap, asked: Sequence[int] | None, services: Services) -> list[int]:
    """Layers to place on, ascending; those counted from the end need to know how many the model has."""
    if asked is None:
        return list(found.facts.layers)
    chosen: set[int] = set()
    for i, layer in enumerate(asked):
        loc = ("layers", i)
        card = services.hub.last_state().models.get(found.facts.model) if layer < 0 else None
        chosen.add(found.layer(layer if card is None else layer + card["n_layers"], loc=loc))
    return sorted(chosen)


def _vectors(data: bytes) -> npt.NDArray[Any]:
    try:
        tensors = decode(data).tensors
    except InvalidRequest as error:
        raise InvalidRequest(f"Part 'vectors': {error.detail}", loc=(VECTORS,)) from None
    if VECTORS not in tensors:
        has = ", ".join(sorted(tensors))[:200] or "none"
        raise InvalidRequest(f"Part 'vectors' has no tensor 'vectors'; it has {has}.", loc=(VECTORS,))
    if tensors[VECTORS].dtype.kind != "f":
        raise InvalidRequest(f"Expected vectors of floats, got {tensors[VECTORS].dtype}.", loc=(VECTORS,))
    return tensors[VECTORS]
