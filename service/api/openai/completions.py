"""``POST /v1/completions``."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import Completion, CompletionRequest

from service.api.openai.streaming import EVENTS_TYPE, streamed, whole
from service.api.openai.wire import Head, Tally, completion_chunk
from service.api.requests.auth import require
from service.api.requests.bodies import JSON_TYPE, Body, body_of, request_body
from service.api.requests.deadlines import Deadline
from service.api.requests.engine_requests import inputs_of, interventions_of, sampling_of, values_of
from service.api.requests.prompt_resolution import ResolvedModel, resolve_model
from service.api.responses.openapi import ENGINE_ERRORS, events_of, problems
from service.api.services import ServicesDep
from service.engine.requests import Generate
from service.hosting.ipc.messages import Submit

router = APIRouter(tags=["completions"], dependencies=[Depends(require("read"))])


@router.post(
    "/v1/completions",
    response_model=Completion,
    responses={
        200: {
            "description": "The completion; with `stream`, server-sent events that end in `data: [DONE]`.",
            "content": {EVENTS_TYPE: events_of(Completion)},
        },
        **problems(*ENGINE_ERRORS, openai=True),
    },
    openapi_extra=request_body(CompletionRequest, form=True),
)
async def complete(
    request: Request,
    services: ServicesDep,
    body: Annotated[Body[CompletionRequest], Depends(body_of(CompletionRequest))],
    deadline_s: Deadline,
) -> Response:
    """Continue texts, as OpenAI's clients ask for it."""
    asked, hub = body.request, services.hub
    state = hub.require_engine()
    resolved = await resolve_model(services.prompts, state=state, model=asked.model, prompt_ref=asked.prompt_ref)
    job = _job(body, resolved)
    tally = Tally(n=asked.n)
    head = Head(
        id=f"cmpl-{job.request.request_id}",
        created=int(time.time()),
        model=asked.model,
        with_logprobs=asked.logprobs is not None,
    )
    if asked.stream:
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        return await streamed(
            request,
            job,
            hub=hub,
            deadline_s=deadline_s,
            tally=tally,
            chunker=lambda happening: completion_chunk(happening, head=head),
            first=[],
            last=lambda all_of_it: head.completion([], usage=all_of_it.usage) if with_usage else None,
        )
    await whole(request, job, hub=hub, deadline_s=deadline_s, tally=tally)
    choices = tally.completion_choices(with_logprobs=head.with_logprobs)
    return Response(head.completion(choices, usage=tally.usage).model_dump_json(), media_type=JSON_TYPE)


def _job(body: Body[CompletionRequest], resolved: ResolvedModel) -> Submit:
    asked = body.request
    generate = Generate(
        request_id=uuid.uuid4().hex,
        inputs=inputs_of(asked.inputs),
        n=asked.n,
        max_tokens=asked.max_tokens,
        sampling=sampling_of(asked),
        stop=asked.stop_strings,
        logprobs=asked.logprobs,
        echo=asked.echo,
        stream=asked.stream,
        prompt=resolved.prompt,
        interventions=interventions_of(asked.interventions),
    )
    return Submit(model=resolved.model, request=generate, tensors=body.tensors, values=values_of(asked.interventions))
