"""Maps: list, points, deletion, and new points placed on them. They are made by runs of kind ``map``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from promptatlas.types import ListPage, Map, MapPoints, MapRow, ProjectBody

from service.api.map_sources.collect import gather
from service.api.map_sources.collector import NewPoints
from service.api.requests.auth import Admin, Reader
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.responses.maps import facts_of, points_answer, row_of
from service.api.responses.openapi import ENGINE_ERRORS, TENSORS_TYPE, problems
from service.api.services import Services, ServicesDep
from service.errors import InvalidRequest
from service.projection.arrays import as_vectors
from service.store.artifacts.tensor_codec import decode
from service.store.listing import MAX_LIMIT
from service.store.maps.points import Points, join_points
from service.store.maps.store import StoredMap

router = APIRouter(tags=["maps"])

VECTORS = "vectors"
"""Name of the part, of its tensor, and of its points' source."""

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
    asked = body.request
    new = NewPoints(_layers(found, asked.layers, services))
    if not asked.sources and not body.tensors:
        raise InvalidRequest("There is nothing to place: give sources, or a part 'vectors'.", loc=("sources",))
    if body.tensors:
        vectors = await asyncio.to_thread(_vectors, body.tensors)
        for layer in new.layers:
            new.add(layer, vectors, source=VECTORS, role="placed")
    if asked.sources:
        await gather(asked.sources, found=found, to=new, services=services, deadline_s=deadline_s)
    parts = [part for layer in new.layers if (part := await _placed(services, found, new, layer, deadline_s))]
    if not parts:
        raise InvalidRequest("The sources have no points at these layers.", loc=("sources",))
    return join_points(parts)


async def _placed(services: Services, found: StoredMap, new: NewPoints, layer: int, deadline_s: float) -> Points | None:
    vectors = new.vectors(layer)
    if vectors is None:
        return None
    left_s = max(0.0, deadline_s - services.hub.deadline_in(0))
    places = await services.placer.place(found, layer=layer, vectors=vectors, timeout_s=left_s)
    return new.labels[layer].points(places)


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


def _vectors(data: bytes) -> npt.NDArray[np.float32]:
    try:
        tensors = decode(data).tensors
    except InvalidRequest as error:
        raise InvalidRequest(f"Part 'vectors': {error.detail}", loc=(VECTORS,)) from None
    if VECTORS not in tensors:
        has = ", ".join(sorted(tensors))[:200] or "none"
        raise InvalidRequest(f"Part 'vectors' has no tensor 'vectors'; it has {has}.", loc=(VECTORS,))
    if tensors[VECTORS].dtype.kind != "f":
        raise InvalidRequest(f"Expected vectors of floats, got {tensors[VECTORS].dtype}.", loc=(VECTORS,))
    return as_vectors(tensors[VECTORS])
