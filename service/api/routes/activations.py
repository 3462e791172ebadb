"""``POST /v1/activations``, and the estimate of its cost."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import ActivationRequest, ActivationsJson, EstimateResponse

from service.api.requests.auth import require
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.engine_requests import capture_of, interventions_of, job_of, new_request_id
from service.api.requests.prompt_resolution import ResolvedModel, resolve_request
from service.api.responses.openapi import ENGINE_ERRORS, problems, tensors_or
from service.api.responses.tensors import respond
from service.api.services import Services, ServicesDep, request_id_of
from service.completions.generation import inputs_of
from service.engine.requests import Capture

router = APIRouter(tags=["activations"], dependencies=[Depends(require("read"))])

ActivationBody = Annotated[Body[ActivationRequest], Depends(body_of(ActivationRequest))]


@router.post(
    "/v1/activations",
    response_class=Response,
    responses={**tensors_or(ActivationsJson), **problems(*ENGINE_ERRORS)},
    openapi_extra=request_body(ActivationRequest, form=True),
)
async def activations(request: Request, services: ServicesDep, body: ActivationBody, deadline_s: Deadline) -> Response:
    """Read a model's activations on texts, with a tuned prompt or without."""
    resolved = await resolve_request(services, body.request, allows_ensemble=True)
    capture = await _capture(services, body.request, resolved)
    job = job_of(body, capture, resolved=resolved, metadata=resolved.metadata(request_id=request_id_of(request)))
    return await respond(request, job, services=services, deadline_s=deadline_s)


@router.post(
    "/v1/activations/estimate",
    responses=problems(*ENGINE_ERRORS),
    openapi_extra=request_body(ActivationRequest, form=True),
)
async def estimate(
    request: Request, services: ServicesDep, body: ActivationBody, deadline_s: Deadline
) -> EstimateResponse:
    """Estimate the cost of the same request to `/v1/activations`, without running it."""
    resolved = await resolve_request(services, body.request, allows_ensemble=True)
    capture = await _capture(services, body.request, resolved)
    found = await while_connected(
        request, services.engine.estimate(resolved.model, request=capture, deadline_s=deadline_s)
    )
    return EstimateResponse(n_tokens=found.n_tokens, bytes=found.n_bytes, seconds=found.seconds)


async def _capture(services: Services, spec: ActivationRequest, resolved: ResolvedModel) -> Capture:
    return Capture(
        request_id=new_request_id(),
        inputs=inputs_of(spec.inputs),
        capture=await capture_of(services, spec, resolved=resolved),
        prompt=resolved.prompt,
        interventions=interventions_of(spec.interventions),
    )
