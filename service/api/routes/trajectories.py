"""``POST /v1/trajectories``: the ordered states of generations."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import TrajectoriesJson, TrajectoryRequest

from service.api.requests.auth import require
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline
from service.api.requests.engine_requests import inputs_of, interventions_of, sampling_of, trajectories_of, values_of
from service.api.requests.projections import projection_of
from service.api.requests.prompt_resolution import ResolvedModel, resolve_model
from service.api.responses.openapi import ENGINE_ERRORS, problems, tensors_or
from service.api.responses.tensors import answer
from service.api.services import ServicesDep, request_id_of
from service.engine.requests import Generate, Projection
from service.hosting.ipc.messages import Submit

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
    """Continue texts and read the model's states on the way."""
    asked = body.request
    state = services.hub.require_engine()
    resolved = await resolve_model(services.prompts, state=state, model=asked.model, prompt_ref=asked.prompt_ref)
    projection = await projection_of(services, asked, card=resolved.card)
    job = Submit(
        model=resolved.model,
        request=_generate(asked, resolved, projection),
        tensors=body.tensors,
        values=values_of(asked.interventions),
        metadata=resolved.metadata(request_id=request_id_of(request)),
    )
    limit = services.settings.max_json_bytes
    return await answer(request, job, hub=services.hub, deadline_s=deadline_s, max_json_bytes=limit)


def _generate(asked: TrajectoryRequest, resolved: ResolvedModel, projection: Projection | None) -> Generate:
    return Generate(
        request_id=uuid.uuid4().hex,
        inputs=inputs_of(asked.inputs),
        n=asked.n,
        max_tokens=asked.max_tokens,
        sampling=sampling_of(asked),
        stop=asked.stop_strings,
        prompt=resolved.prompt,
        interventions=interventions_of(asked.interventions),
        capture=trajectories_of(asked, projection=projection),
        include_input=asked.include_input,
    )
