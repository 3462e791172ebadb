"""Routes of runs: start, list, read, cancel, delete, resume, metrics. Includes the routes of events and artifacts."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from promptatlas.types import ListPage, MetricCurve, Run, RunAnnotation, RunBody, RunKind, RunStatus, Tag

from service.api import dry_runs
from service.api.requests.auth import Admin, Reader, Writer
from service.api.requests.bodies import JSON_TYPE, json_of
from service.api.requests.idempotency import IdempotencyKey, created, respond_once
from service.api.requests.parameters import After, Limit, RunId
from service.api.responses.openapi import problems
from service.api.responses.run_openapi import ACCEPTED, PLANNED, RUN_BODY, STARTING_ERRORS
from service.api.responses.runs import run_answer
from service.api.routes.runs import artifacts as run_artifacts
from service.api.routes.runs import events as run_events
from service.api.run_submission import (
    RunRequest,
    cancel_run,
    enqueue,
    load_datasets,
    position_of,
    positions_of,
    require_queue,
    start_run,
)
from service.api.services import Services, ServicesDep
from service.store.idempotency import StoredResponse

router = APIRouter(tags=["runs"])


@router.post(
    "/v1/runs",
    status_code=202,
    response_model=Run,
    responses={**PLANNED, **ACCEPTED, **problems(*STARTING_ERRORS)},
    openapi_extra=RUN_BODY,
)
async def start(
    request: Request,
    services: ServicesDep,
    caller: Writer,
    body: Annotated[RunBody, Depends(json_of(RunBody))],
    key: IdempotencyKey = None,
    dry_run: Annotated[
        bool, Query(description="Validate and complete the spec only; store and queue nothing.")
    ] = False,
) -> Response:
    """Start a run. A spec that cannot work is refused, with the field to blame."""
    run = RunRequest(kind=body.kind, spec=body.spec, name=body.name, at=("spec",))
    if dry_run:
        await load_datasets(services, run)
        planned = await asyncio.to_thread(dry_runs.dry_run, services, run)
        return Response(planned.model_dump_json(), media_type=JSON_TYPE)
    return await start_run(request, services, run=run, key=key, caller=caller.name)


@router.get("/v1/runs", responses=problems(401, 403, 422, 500, 503))
async def list_runs(
    services: ServicesDep,
    _caller: Reader,
    kind: Annotated[RunKind | None, Query(description="Runs of this kind only.")] = None,
    status: Annotated[RunStatus | None, Query(description="Runs in this state only.")] = None,
    tag: Annotated[Tag | None, Query(description="Runs with this tag only.")] = None,
    limit: Limit = 20,
    after: After = None,
) -> ListPage[Run]:
    """List runs, newest first, without their artifacts."""

    def read() -> ListPage[Run]:
        page = services.runs.list_runs(kind=kind, status=status, tag=tag, limit=limit, after=after)
        is_queued = any(state.status == "queued" for _, state in page.items)
        positions = positions_of(services.queue) if is_queued else {}
        rows = [run_answer(record, state, position=positions.get(record.id)) for record, state in page.items]
        return ListPage[Run](data=rows, has_more=page.has_more, next=page.next)

    return await asyncio.to_thread(read)


@router.get("/v1/runs/{run_id}", responses=problems(401, 403, 404, 422, 500, 503))
async def get_run(services: ServicesDep, _caller: Reader, run_id: RunId) -> Run:
    """Read a run, with its artifacts so far."""
    return await asyncio.to_thread(_read_run, services, run_id)


@router.patch("/v1/runs/{run_id}", responses=problems(401, 403, 404, 415, 422, 500, 503))
async def annotate(
    services: ServicesDep,
    _caller: Writer,
    run_id: RunId,
    body: Annotated[RunAnnotation, Depends(json_of(RunAnnotation))],
) -> Run:
    """Set the notes and the tags of a run, in any state. Everything else of a run is immutable."""

    def write() -> Run:
        services.runs.annotate(run_id, notes=body.notes, tags=body.tags)
        return _read_run(services, run_id)

    return await asyncio.to_thread(write)


@router.post("/v1/runs/{run_id}/cancel", responses=problems(401, 403, 404, 409, 422, 500, 503))
async def cancel(services: ServicesDep, _caller: Writer, run_id: RunId) -> Run:
    """Cancel a run. A queued run stops at once; a running one stops soon and keeps its last checkpoint."""

    def stop() -> Run:
        cancel_run(services, run_id)
        return _read_run(services, run_id)

    return await asyncio.to_thread(stop)


@router.delete("/v1/runs/{run_id}", status_code=204, responses=problems(401, 403, 404, 409, 422, 500, 503))
async def delete(services: ServicesDep, _caller: Admin, run_id: RunId) -> None:
    """Delete a run that has ended, with its artifacts: also the map or report that it made. Its prompts are kept."""
    await asyncio.to_thread(services.runs.delete, run_id)


@router.post(
    "/v1/runs/{run_id}/resume",
    status_code=202,
    response_model=Run,
    responses={**ACCEPTED, **problems(401, 403, 404, 409, 422, 500, 503)},
)
async def resume(
    request: Request, services: ServicesDep, caller: Writer, run_id: RunId, key: IdempotencyKey = None
) -> Response:
    """Resume a failed or cancelled run, from its last checkpoint if it has one."""

    def requeue() -> StoredResponse:
        queue = require_queue(services)
        state = services.runs.resume(run_id)
        enqueue(queue, run_id, attempt=state.attempts + 1)
        return created(_read_run(services, run_id), location=f"/v1/runs/{run_id}", status=202)

    return await respond_once(request, services.idempotency, key=key, caller=caller.name, body=b"", work=requeue)


@router.get(
    "/v1/runs/{run_id}/metrics", response_model=MetricCurve, responses=problems(401, 403, 404, 410, 422, 500, 503)
)
async def metrics(services: ServicesDep, _caller: Reader, run_id: RunId) -> Response:
    """Read the whole curve of a run, in the order in which the points were recorded."""

    def read() -> bytes:
        points: list[dict[str, Any]] = services.runs.metrics(run_id, with_times=True)
        return json.dumps({"object": "list", "data": points, "has_more": False, "next": None}).encode()

    # Serialized directly: a curve may have a million points, which were validated when they were recorded.
    return Response(await asyncio.to_thread(read), media_type=JSON_TYPE)


router.include_router(run_events.router)
router.include_router(run_artifacts.router)


def _read_run(services: Services, run_id: str) -> Run:
    record, state = services.runs.get(run_id)
    position = position_of(services.queue, run_id) if state.status == "queued" else None
    return run_answer(
        record, state, position=position, outputs=services.runs.outputs(run_id), expired=services.runs.expired(run_id)
    )
