"""``POST /v1/completions`` and ``POST /v1/chat/completions``."""

from __future__ import annotations

from dataclasses import replace
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

from service.api.openai.formats import CHAT, COMPLETION
from service.api.openai.prompt_embeds import vectors_of
from service.api.openai.responses import ResponseBuilder, respond
from service.api.requests.auth import require
from service.api.requests.bodies import Body, body_of, request_body
from service.api.requests.deadlines import Deadline
from service.api.requests.engine_requests import generate_of, inputs_of, job_of
from service.api.requests.prompt_resolution import ResolvedModel, resolve_request
from service.api.responses.openapi import ENGINE_ERRORS, EVENTS_TYPE, events_of, problems
from service.api.services import ServicesDep
from service.errors import InvalidRequest

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
    resolved = await resolve_request(services, spec)
    vectors = await vectors_of(spec, card=resolved.card)
    generate = replace(
        generate_of(spec, resolved=resolved),
        inputs=(*vectors, *inputs_of(spec.inputs)),
        max_tokens=spec.max_tokens,
        logprobs=spec.logprobs,
        echo=spec.echo,
        prompt_logprobs=spec.prompt_logprobs,
        stream=spec.stream,
    )
    job = job_of(body, generate, resolved=resolved)
    builder = ResponseBuilder(job, spec=spec, wire_format=COMPLETION, with_logprobs=spec.logprobs is not None)
    return await respond(request, builder, engine=services.engine_of(request), deadline_s=deadline_s)


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
    resolved = await resolve_request(services, spec)
    if not resolved.card["has_chat_template"]:
        raise InvalidRequest(
            f"Model {resolved.model!r} has no chat template; use /v1/completions with a text.", loc=("model",)
        )
    generate = replace(
        generate_of(spec, resolved=resolved),
        messages=tuple(message.template_fields for message in spec.messages),
        max_tokens=spec.token_limit or 1,
        logprobs=(spec.top_logprobs or 0) if spec.logprobs else None,
        prompt_logprobs=spec.prompt_logprobs,
        stream=spec.stream,
    )
    n_context = _n_context(resolved) if spec.token_limit is None else None
    job = job_of(body, generate, resolved=resolved, n_context=n_context)
    builder = ResponseBuilder(job, spec=spec, wire_format=CHAT, with_logprobs=spec.logprobs)
    return await respond(request, builder, engine=services.engine_of(request), deadline_s=deadline_s)


def _n_context(resolved: ResolvedModel) -> int:
    """Positions of the context without the prompt's virtual ones."""
    n_virtual = 0 if resolved.used is None else resolved.used.n_virtual
    n_positions: int = resolved.card["n_positions"]
    return n_positions - n_virtual
