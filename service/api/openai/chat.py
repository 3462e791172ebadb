"""``POST /v1/chat/completions``, for models whose tokenizer has a chat template."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import ChatChunkChoice, ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, ChatDelta
from pydantic import BaseModel

from service.api.openai.streaming import EVENTS_TYPE, streamed, whole
from service.api.openai.wire import Head, Tally, chat_chunk
from service.api.requests.auth import require
from service.api.requests.bodies import JSON_TYPE, Body, body_of, request_body
from service.api.requests.deadlines import Deadline
from service.api.requests.engine_requests import interventions_of, sampling_of, values_of
from service.api.requests.prompt_resolution import ResolvedModel, resolve_model
from service.api.responses.openapi import ENGINE_ERRORS, events_of, problems
from service.api.services import ServicesDep
from service.engine.requests import Generate
from service.errors import InvalidRequest
from service.hosting.ipc.messages import Submit

router = APIRouter(tags=["completions"], dependencies=[Depends(require("read"))])


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={
        200: {
            "description": "The answer; with `stream`, server-sent events that end in `data: [DONE]`.",
            "content": {EVENTS_TYPE: events_of(ChatCompletionChunk)},
        },
        **problems(*ENGINE_ERRORS, openai=True),
    },
    openapi_extra=request_body(ChatCompletionRequest, form=True),
)
async def chat(
    request: Request,
    services: ServicesDep,
    body: Annotated[Body[ChatCompletionRequest], Depends(body_of(ChatCompletionRequest))],
    deadline_s: Deadline,
) -> Response:
    """Answer a conversation, as OpenAI's clients ask for it."""
    asked, hub = body.request, services.hub
    state = hub.require_engine()
    resolved = await resolve_model(services.prompts, state=state, model=asked.model, prompt_ref=asked.prompt_ref)
    if not resolved.card["has_chat_template"]:
        raise InvalidRequest(
            f"Model {resolved.model!r} has no chat template; use /v1/completions with a text.", loc=("model",)
        )
    job = _job(body, resolved)
    tally = Tally(n=asked.n)
    head = Head(
        id=f"chatcmpl-{job.request.request_id}",
        created=int(time.time()),
        model=asked.model,
        with_logprobs=asked.logprobs,
    )
    if asked.stream:
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        return await streamed(
            request,
            job,
            hub=hub,
            deadline_s=deadline_s,
            tally=tally,
            chunker=lambda happening: chat_chunk(happening, head=head),
            first=_openings(head, n=asked.n),
            last=lambda all_of_it: head.chat_chunk([], usage=all_of_it.usage) if with_usage else None,
        )
    await whole(request, job, hub=hub, deadline_s=deadline_s, tally=tally)
    choices = tally.chat_choices(with_logprobs=asked.logprobs)
    return Response(head.chat(choices, usage=tally.usage).model_dump_json(), media_type=JSON_TYPE)


def _openings(head: Head, *, n: int) -> list[BaseModel]:
    """The chunks that say whose words follow."""
    delta = ChatDelta(role="assistant", content="")
    return [head.chat_chunk([ChatChunkChoice(index=index, delta=delta)]) for index in range(n)]


def _job(body: Body[ChatCompletionRequest], resolved: ResolvedModel) -> Submit:
    asked = body.request
    generate = Generate(
        request_id=uuid.uuid4().hex,
        messages=tuple({"role": message.role, "content": message.text} for message in asked.messages),
        n=asked.n,
        max_tokens=asked.token_limit or 1,
        sampling=sampling_of(asked),
        stop=asked.stop_strings,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        stream=asked.stream,
        prompt=resolved.prompt,
        interventions=interventions_of(asked.interventions),
    )
    return Submit(
        model=resolved.model,
        request=generate,
        tensors=body.tensors,
        values=values_of(asked.interventions),
        n_context=_context_left(resolved) if asked.token_limit is None else None,
    )


def _context_left(resolved: ResolvedModel) -> int:
    n_virtual = 0 if resolved.used is None else resolved.used.n_virtual
    n_positions: int = resolved.card["n_positions"]
    return n_positions - n_virtual
