"""``POST /v1/activations`` and what it would cost."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import ActivationRequest, ActivationsJson, EstimateResponse

from service.api.requests.auth import require
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.engine_requests import activations_of, inputs_of, interventions_of, values_of
from service.api.requests.projections import projection_of
from service.api.requests.prompt_resolution import ResolvedModel, resolve_model
from service.api.responses.openapi import ENGINE_ERRORS, problems, tensors_or
from service.api.responses.tensors import answer
from service.api.services import Services, ServicesDep, request_id_of
from service.engine.requests import Capture
from service.hosting.ipc.messages import Submit

router = APIRouter(tags=["activations"], dependencies=[Depends(require("read"))])

ActivationBody = Annotated[Body[ActivationRequest], Depends(body_of(ActivationRequest))]


@router.post(
    "/v1/activations",
    response_class=Response,
    responses={**tensors_or(ActivationsJson), **problems(*ENGINE_ERRORS)},
    openapi_extra=request_body(ActivationRequest, form=True),
)
async def activations(request: Request, services: ServicesDep, body: ActivationBody, deadline_s: Deadline) -> Response:
    """Read a model's activations over texts, under a prompt or none."""
    resolved = await _choose(services, body.request)
    job = Submit(
        model=resolved.model,
        request=await _capture(services, body.request, resolved),
        tensors=body.tensors,
        values=values_of(body.request.interventions),
        metadata=resolved.metadata(request_id=request_id_of(request)),
    )
    limit = services.settings.max_json_bytes
    return await answer(request, job, hub=services.hub, deadline_s=deadline_s, max_json_bytes=limit)


@router.post(
    "/v1/activations/estimate",
    responses=problems(*ENGINE_ERRORS),
    openapi_extra=request_body(ActivationRequest, form=True),
)
async def estimate(
    request: Request, services: ServicesDep, body: ActivationBody, deadline_s: Deadline
) -> EstimateResponse:
    """What the same request would cost; nothing is run."""
    resolved = await _choose(services, body.request)
    capture = await _capture(services, body.request, resolved)
    asking = services.hub.estimate(resolved.model, request=capture, deadline_s=deadline_s)
    found = await while_connected(request, asking)
    return EstimateResponse(n_tokens=found.n_tokens, bytes=found.n_bytes, seconds=found.seconds)


async def _choose(services: Services, asked: ActivationRequest) -> ResolvedModel:
    state = services.hub.require_engine()
    return await resolve_model(services.prompts, state=state, model=asked.model, prompt_ref=asked.prompt_ref)


async def _capture(services: Services, asked: ActivationRequest, resolved: ResolvedModel) -> Capture:
    projection = await projection_of(services, asked, card=resolved.card)
    return Capture(
        request_id=uuid.uuid4().hex,
        inputs=inputs_of(asked.inputs),
        capture=activations_of(asked, projection=projection),
        prompt=resolved.prompt,
        interventions=interventions_of(asked.interventions),
    )
