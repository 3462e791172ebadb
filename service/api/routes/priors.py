"""``POST /v1/priors/sample``: draws of a prior before tuning."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import Run, SampleBody

from service.api.requests.auth import Writer
from service.api.requests.bodies import json_of, request_body
from service.api.requests.idempotency import IdempotencyKey
from service.api.responses.openapi import problems
from service.api.responses.run_openapi import ACCEPTED, STARTING_ERRORS
from service.api.run_submission import RunRequest, start_run
from service.api.services import ServicesDep

router = APIRouter(tags=["priors"])


@router.post(
    "/v1/priors/sample",
    status_code=202,
    response_model=Run,
    responses={**ACCEPTED, **problems(*STARTING_ERRORS)},
    openapi_extra=request_body(SampleBody),
)
async def sample(
    request: Request,
    services: ServicesDep,
    caller: Writer,
    body: Annotated[SampleBody, Depends(json_of(SampleBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Start a run that draws from a prior; its artifact `draw.safetensors` has `vectors` `[n, d_model]`."""
    # Unset fields stay unset: planning treats defaults and given values differently.
    spec = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    run = RunRequest(kind="sample", spec=spec)
    return await start_run(request, services, run=run, key=key, caller=caller.name)
