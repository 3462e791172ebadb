"""``POST /v1/trajectories``: the ordered states of generations."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import TrajectoriesJson, TrajectoryRequest

from service.api.requests.auth import require
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline
from service.api.requests.engine_requests import capture_of, generate_of, job_of
from service.api.requests.prompt_resolution import resolve_request
from service.api.responses.openapi import ENGINE_ERRORS, problems, tensors_or
from service.api.responses.tensors import respond
from service.api.services import ServicesDep, request_id_of
from service.completions.generation import inputs_of

router = APIRouter(tags=["trajectories"], dependencies=[Depends(require("read"))])


@router.post(
    "/v1/trajectories",
    response_class=Response,
    responses={**tensors_or(TrajectoriesJson), **problems(*ENGINE_ERRORS)},
    openapi_extra=request_body(TrajectoryRequest, form=True),
)
async def trajectories(
    request: Request,
    services: ServicesDep,
    body: Annotated[Body[TrajectoryRequest], Depends(body_of(TrajectoryRequest))],
    deadline_s: Deadline,
) -> Response:
    """Generate continuations of texts and return the model's states at each token."""
    spec = body.request
    resolved = await resolve_request(services, spec, allows_ensemble=True)
    generate = replace(
        generate_of(spec, resolved=resolved),
        inputs=inputs_of(spec.inputs),
        max_tokens=spec.max_tokens,
        capture=await capture_of(services, spec, resolved=resolved),
        include_input=spec.include_input,
    )
    job = job_of(body, generate, resolved=resolved, metadata=resolved.metadata(request_id=request_id_of(request)))
    return await respond(request, job, services=services, deadline_s=deadline_s)
