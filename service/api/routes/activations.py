"""``POST /v1/activations``, and the estimate of its cost."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import (
    ActivationRequest,
    ActivationsJson,
    DivergenceRequest,
    DivergenceResponse,
    EstimateResponse,
)

from service.api.engine_reads.engine_model import EngineModel
from service.api.engine_reads.lens_divergence import LensComparison
from service.api.requests.auth import require
from service.api.requests.bodies import JSON_TYPE, Body, body_of, json_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.engine_requests import (
    capture_of,
    interventions_of,
    job_of,
    layers_of,
    new_request_id,
    positions_of,
)
from service.api.requests.prompt_resolution import ResolvedModel, resolve_model, resolve_request
from service.api.responses.openapi import ENGINE_ERRORS, problems, tensors_or
from service.api.responses.tensors import respond, too_large_for_json
from service.api.services import Services, ServicesDep, request_id_of
from service.completions.generation import inputs_of
from service.engine.requests import Capture, CaptureSpec
from service.errors import InvalidRequest, NotFound

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


@router.post("/v1/activations/divergence", response_model=DivergenceResponse, responses=problems(*ENGINE_ERRORS))
async def divergence(
    request: Request,
    services: ServicesDep,
    spec: Annotated[DivergenceRequest, Depends(json_of(DivergenceRequest))],
    deadline_s: Deadline,
) -> Response:
    """Compare the logit lens under two prompts: the Kullback–Leibler divergence at every layer and token."""
    resolved = await resolve_request(services, spec)
    other = await _resolve_against(services, spec, base=resolved.model)
    engine = services.engine_of(request)
    model = EngineModel(engine=engine, name=resolved.model, card=resolved.card, deadline_s=deadline_s)
    capture = CaptureSpec(
        sites=tuple(spec.sites), layers=layers_of(spec.layers), positions=positions_of(spec.positions)
    )
    comparison = LensComparison(model=model, engine=services.engine)
    work = comparison.run(inputs_of(spec.inputs), capture, prompt=resolved.prompt, against=other.prompt)
    found = await while_connected(request, work)
    answer = DivergenceResponse(
        **{name: rows.tolist() for name, rows in found.rows.items()},
        kl={name: [None if math.isnan(one) else one for one in values.tolist()] for name, values in found.kl.items()},
        prompt=resolved.used,
        against=other.used,
        request_id=request_id_of(request),
    )
    body, limit = answer.model_dump_json(), services.settings.max_json_bytes
    if len(body) > limit:
        raise too_large_for_json(len(body), limit=limit, instead="fewer inputs, layers or positions")
    return Response(body, media_type=JSON_TYPE)


async def _resolve_against(services: Services, spec: DivergenceRequest, *, base: str) -> ResolvedModel:
    state = services.engine.require_engine()
    try:
        return await resolve_model(services.prompts, state=state, model=base, prompt_ref=spec.against)
    except (NotFound, InvalidRequest) as error:
        raise type(error)(error.detail, loc=("against",)) from None


async def _capture(services: Services, spec: ActivationRequest, resolved: ResolvedModel) -> Capture:
    return Capture(
        request_id=new_request_id(),
        inputs=inputs_of(spec.inputs),
        capture=await capture_of(services, spec, resolved=resolved),
        prompt=resolved.prompt,
        interventions=interventions_of(spec.interventions),
    )
