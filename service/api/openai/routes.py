"""``POST /v1/completions`` and ``POST /v1/chat/completions``."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
)
from pydantic import BaseModel

from service.api.openai.prompt_embeds import vectors_of
from service.api.openai.responses import respond
from service.api.requests.auth import require
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline
from service.api.requests.engine_requests import generate_of, job_of
from service.api.requests.prompt_resolution import ResolvedModel, resolve_request
from service.api.responses.openapi import ENGINE_ERRORS, EVENTS_TYPE, events_of, problems
from service.api.services import ServicesDep
from service.completions.generation import with_chat, with_completion
from service.completions.response_builder import ResponseBuilder
from service.errors import InvalidRequest
from service.hosting.ipc.messages import Submit

router = APIRouter(tags=["completions"], dependencies=[Depends(require("read"))])


def _responses(chunk: type[BaseModel], *, description: str) -> dict[int | str, dict[str, Any]]:
    streamed = f"{description}; with `stream`, server-sent events that end with `data: [DONE]`."
    return {
        200: {"description": streamed, "content": {EVENTS_TYPE: events_of(chunk)}},
        **problems(*ENGINE_ERRORS, openai=True),
    }


@router.post(
    "/v1/completions",
    response_model=Completion,
    responses=_responses(Completion, description="The completion"),
    openapi_extra=request_body(CompletionRequest, form=True),
)
async def complete(
    request: Request,
    services: ServicesDep,
    body: Annotated[Body[CompletionRequest], Depends(body_of(CompletionRequest))],
    deadline_s: Deadline,
) -> Response:
    """Complete texts, or vectors in place of their embeddings; compatible with OpenAI's API and vLLM's `prompt_embeds`."""
    spec = body.request
    resolved = await resolve_request(services, spec, allows_ensemble=True)
    vectors = await vectors_of(spec, card=resolved.card)
    generate = with_completion(generate_of(spec, resolved=resolved), spec, vectors=vectors)
    job = job_of(body, generate, resolved=resolved)
    builder = _builder_of(spec, job, resolved=resolved)
    return await respond(request, builder, job=job, engine=services.engine_of(request), deadline_s=deadline_s)


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses=_responses(ChatCompletionChunk, description="The answer"),
    openapi_extra=request_body(ChatCompletionRequest, form=True),
)
async def chat(
    request: Request,
    services: ServicesDep,
    body: Annotated[Body[ChatCompletionRequest], Depends(body_of(ChatCompletionRequest))],
    deadline_s: Deadline,
) -> Response:
    """Continue a conversation; compatible with OpenAI's API. The model's tokenizer must have a chat template."""
    spec = body.request
    resolved = await resolve_request(services, spec, allows_ensemble=True)
    if not resolved.card["has_chat_template"]:
        raise InvalidRequest(
            f"Model {resolved.model!r} has no chat template; use /v1/completions with a text.", loc=("model",)
        )
    generate = with_chat(generate_of(spec, resolved=resolved), spec)
    n_context = _n_context(resolved) if spec.token_limit is None else None
    job = job_of(body, generate, resolved=resolved, n_context=n_context)
    builder = _builder_of(spec, job, resolved=resolved)
    return await respond(request, builder, job=job, engine=services.engine_of(request), deadline_s=deadline_s)


def _builder_of(
    spec: CompletionRequest | ChatCompletionRequest, job: Submit, *, resolved: ResolvedModel
) -> ResponseBuilder:
    return ResponseBuilder(
        spec, request_id=job.request.request_id, created=int(time.time()), used=resolved.posterior_used
    )


def _n_context(resolved: ResolvedModel) -> int:
    """Positions of the context without the prompt's virtual ones."""
    n_virtual = 0 if resolved.used is None else resolved.used.n_virtual
    n_positions: int = resolved.card["n_positions"]
    return n_positions - n_virtual
