"""``POST /tokenize`` and ``POST /detokenize``, at the paths of vLLM."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from promptatlas.types import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse

from service.api.requests.auth import require
from service.api.requests.bodies import json_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.engine_requests import new_request_id
from service.api.requests.prompt_resolution import resolve_model
from service.api.responses.openapi import ENGINE_ERRORS, problems
from service.api.services import ServicesDep
from service.engine.requests import Detokenize, Tokenize

router = APIRouter(tags=["models"], dependencies=[Depends(require("read"))])


@router.post("/tokenize", responses=problems(*ENGINE_ERRORS), openapi_extra=request_body(TokenizeRequest))
async def tokenize(
    request: Request,
    services: ServicesDep,
    spec: Annotated[TokenizeRequest, Depends(json_of(TokenizeRequest))],
    deadline_s: Deadline,
) -> TokenizeResponse:
    """Return the tokens of a text."""
    resolved = await resolve_model(services.prompts, state=services.engine.require_engine(), model=spec.model)
    question = Tokenize(request_id=new_request_id(), texts=(spec.prompt,), add_special_tokens=spec.add_special_tokens)
    call = services.engine.call_tokenizer(resolved.model, request=question, deadline_s=deadline_s)
    (tokens,) = (await while_connected(request, call)).token_ids
    return TokenizeResponse(tokens=list(tokens), count=len(tokens), max_model_len=resolved.card["n_positions"])


@router.post("/detokenize", responses=problems(*ENGINE_ERRORS), openapi_extra=request_body(DetokenizeRequest))
async def detokenize(
    request: Request,
    services: ServicesDep,
    spec: Annotated[DetokenizeRequest, Depends(json_of(DetokenizeRequest))],
    deadline_s: Deadline,
) -> DetokenizeResponse:
    """Return the text of tokens, special tokens included."""
    resolved = await resolve_model(services.prompts, state=services.engine.require_engine(), model=spec.model)
    question = Detokenize(request_id=new_request_id(), token_ids=tuple(spec.tokens))
    call = services.engine.call_tokenizer(resolved.model, request=question, deadline_s=deadline_s)
    return DetokenizeResponse(prompt=(await while_connected(request, call)).text)
