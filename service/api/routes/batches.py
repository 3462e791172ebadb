"""Routes of batches, as OpenAI's API has them. A batch is a run of kind ``batch``."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from promptatlas.types import Batch, BatchBody, BatchCounts, BatchFaults, BatchList

from service.api.requests.auth import Reader, Writer
from service.api.requests.bodies import json_of, request_body
from service.api.requests.idempotency import IdempotencyKey, respond_once
from service.api.responses.openapi import problems
from service.api.run_submission import RunRequest, cancel_run, create_run
from service.api.services import Services, ServicesDep
from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.kinds.batch import COUNTS, ERRORS_FILE, FAULTS, OUTPUT_FILE, PURPOSE, result_file_id
from service.store.idempotency import StoredResponse
from service.store.runs.ids import made_at
from service.store.runs.records import RunRecord, RunState

router = APIRouter(tags=["batches"])

_PREFIX = "batch_"
_DAY_S = 24 * 3600
_MAX_LINE_BYTES = 16 << 20
_STATUSES = {"queued": "validating", "running": "in_progress", "succeeded": "completed"}
_ENDS = {"succeeded": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at"}

BatchId = Annotated[str, Path(max_length=100, description="Id of the batch.")]


@router.post(
    "/v1/batches",
    response_model=Batch,
    responses=problems(401, 403, 404, 409, 413, 415, 422, 429, 500, 503, openai=True),
    openapi_extra=request_body(BatchBody),
)
async def create(
    request: Request,
    services: ServicesDep,
    caller: Writer,
    body: Annotated[BatchBody, Depends(json_of(BatchBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Start a batch. All requests of its file name one hosted model, each with its own prompt."""

    def start() -> StoredResponse:
        spec = {**body.model_dump(mode="json"), "model": _model_in(services, body.input_file_id)}
        record, state = create_run(services, RunRequest(kind="batch", spec=spec))
        return StoredResponse(status=200, body=_on_wire(services, record, state).model_dump_json().encode())

    data = await request.body()
    return await respond_once(request, services.idempotency, key=key, caller=caller.name, body=data, work=start)


@router.get("/v1/batches", responses=problems(401, 403, 422, 500, 503, openai=True))
async def list_batches(
    services: ServicesDep,
    _caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="Batches per page.")] = 20,
    after: Annotated[
        str | None, Query(max_length=100, description="Id of the last batch of the previous page.")
    ] = None,
) -> BatchList:
    """List batches, newest first."""

    def read() -> BatchList:
        cursor = None if after is None else _run_id(after)
        page = services.runs.list_runs(kind="batch", limit=limit, after=cursor)
        rows = [_on_wire(services, record, state) for record, state in page.items]
        ends = {"first_id": rows[0].id, "last_id": rows[-1].id} if rows else {}
        return BatchList(data=rows, has_more=page.has_more, **ends)

    return await asyncio.to_thread(read)


@router.get("/v1/batches/{batch_id}", responses=problems(401, 403, 404, 422, 500, 503, openai=True))
async def get(services: ServicesDep, _caller: Reader, batch_id: BatchId) -> Batch:
    """Read a batch."""
    return await asyncio.to_thread(lambda: _on_wire(services, *_find(services, batch_id)))


@router.post("/v1/batches/{batch_id}/cancel", responses=problems(401, 403, 404, 409, 422, 500, 503, openai=True))
async def cancel(services: ServicesDep, _caller: Writer, batch_id: BatchId) -> Batch:
    """Cancel a batch. The responses that exist are kept as its output."""

    def stop() -> Batch:
        record, _ = _find(services, batch_id)
        cancel_run(services, record.id)
        return _on_wire(services, *_find(services, batch_id))

    return await asyncio.to_thread(stop)


def _run_id(batch_id: str) -> str:
    return f"run-{batch_id.removeprefix(_PREFIX)}"


def _find(services: Services, batch_id: str) -> tuple[RunRecord, RunState]:
    try:
        record, state = services.runs.get(_run_id(batch_id))
    except NotFound:
        record = None
    if record is None or record.kind != "batch" or not batch_id.startswith(_PREFIX):
        raise NotFound(f"There is no batch {batch_id[:80]!r}.")
    return record, state


def _model_in(services: Services, file_id: str) -> str:
    """The hosted model that the first request of a file names."""
    try:
        stream, file = services.files.open(file_id)
    except NotFound as error:
        raise NotFound(error.detail, loc=("input_file_id",)) from None
    if file.purpose != PURPOSE:
        stream.close()
        raise InvalidRequest(f"Expected a file with purpose {PURPOSE!r}, got {file.purpose!r}.", loc=("input_file_id",))
    with stream:
        line = _first_line(stream)
    try:
        model = json.loads(line)["body"]["model"]
    except (ValueError, KeyError, TypeError, RecursionError):
        model = None
    if not isinstance(model, str) or not model:
        raise InvalidRequest(
            "Line 1 of the file: expected a JSON object with custom_id, method, url, and a body that names a model.",
            loc=("input_file_id",),
        )
    return model.partition(":")[0]


def _first_line(stream: BinaryIO) -> bytes:
    while line := stream.readline(_MAX_LINE_BYTES):
        if line.strip():
            return line
    return b""


def _on_wire(services: Services, record: RunRecord, state: RunState) -> Batch:
    spec, created_s = record.spec, int(made_at(record.id).timestamp())
    fields: dict[str, Any] = {
        "status": "cancelling" if state.cancel_requested and not state.has_ended else _status(state),
        "in_progress_at": None if state.started_at is None else _seconds(state.started_at),
        "request_counts": BatchCounts(**_json_of(services, record.id, COUNTS, default={})),
    }
    if state.ended_at is not None:
        fields[_ENDS[state.status]] = _seconds(state.ended_at)
    if state.status == "failed":
        unknown = {"object": "list", "data": [{"code": "batch_failed", "message": state.error}]}
        fields["errors"] = BatchFaults.model_validate(_json_of(services, record.id, FAULTS, default=unknown))
    for name, suffix in (("output_file_id", OUTPUT_FILE), ("error_file_id", ERRORS_FILE)):
        fields[name] = _existing(services, result_file_id(record.id, suffix)) if state.has_ended else None
    return Batch(
        id=f"{_PREFIX}{record.id.removeprefix('run-')}",
        endpoint=spec["endpoint"],
        model=spec["model"],
        input_file_id=spec["input_file_id"],
        completion_window=spec["completion_window"],
        metadata=spec["metadata"],
        created_at=created_s,
        expires_at=created_s + _DAY_S,
        run_id=record.id,
        **fields,
    )


def _status(state: RunState) -> str:
    return _STATUSES.get(state.status, state.status)


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def _existing(services: Services, file_id: str) -> str | None:
    try:
        return services.files.get(file_id).id
    except AtlasError:
        return None


def _json_of(services: Services, run_id: str, path: str, *, default: dict[str, Any]) -> dict[str, Any]:
    """An output of the run; the default as long as there is none."""
    try:
        found: dict[str, Any] = json.loads(services.runs.read_output(run_id, path))
    except AtlasError:
        return default
    return found
