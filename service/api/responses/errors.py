"""Error responses: RFC 9457 on every route, OpenAI's format on the OpenAI-compatible routes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from promptatlas.types import Problem, ProblemItem
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import errors
from service.api.requests.deadlines import ClientGone
from service.api.services import request_id_of
from service.api.telemetry.request_record import note_error
from service.completions.errors import items_of, openai_body, status_of, validation_detail, validation_items
from service.problem_types import problem_type

PROBLEM_TYPE = "application/problem+json"
# OpenAI's paths, without those of models. Its clients show only errors in OpenAI's format. Errors on paths of models are
# problems, as on other routes, with OpenAI's format in a member of their own.
_MODELS_PATH = re.compile(r"/v1/models(/.*)?")
_OPENAI_PATH = re.compile(
    r"/v1/(assistants|audio|batches|chat|completions|containers|conversations|edits|embeddings|engines|evals|files|fine_tuning|"
    r"images|moderations|organization|realtime|responses|threads|uploads|vector_stores|videos)(/.*)?"
)

_GONE_STATUS = 499  # nginx's "client closed request"; only the log shows it


def respond(error: errors.AtlasError, *, path: str, request_id: str) -> Response:
    """The response for ``error`` on a request for ``path``."""
    return make_response(
        status_of(error),
        title=error.title,
        detail=error.detail,
        path=path,
        request_id=request_id,
        items=items_of(error),
        headers=_headers(error),
    )


def is_openai_path(path: str) -> bool:
    """Whether OpenAI's API has this path, no matter if this server does."""
    return _OPENAI_PATH.fullmatch(path) is not None


def make_response(
    status: int,
    *,
    title: str,
    detail: str,
    path: str,
    request_id: str,
    items: Sequence[ProblemItem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error response in the format of the route ``path``."""
    openai = openai_body(status, title=title, detail=detail, items=items)
    if is_openai_path(path):
        return Response(openai.model_dump_json(), status, dict(headers or {}), "application/json")
    problem = Problem(
        type=problem_type(title),
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
        errors=list(items) or None,
        error=openai.error if _MODELS_PATH.fullmatch(path) else None,
    )
    return Response(problem.model_dump_json(exclude_none=True), status, dict(headers or {}), PROBLEM_TYPE)


def install_handlers(app: FastAPI) -> None:
    """Register handlers for all errors that routes raise."""
    app.add_exception_handler(errors.AtlasError, _on_atlas_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientGone, _on_gone)
    app.add_exception_handler(ClientDisconnect, _on_gone)


async def _on_atlas_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.AtlasError)
    note_error(error)
    return respond(error, path=request.url.path, request_id=request_id_of(request))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    note_error(errors.InvalidRequest(errors.InvalidRequest.title))
    items = validation_items(error.errors())
    return make_response(
        422,
        title=errors.InvalidRequest.title,
        detail=validation_detail(items),
        path=request.url.path,
        request_id=request_id_of(request),
        items=items,
    )


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    detail = error.detail
    if detail == phrase:
        detail = f"{request.method} {request.url.path[:200]}: {phrase.lower()}."
    return make_response(
        error.status_code,
        title=phrase,
        detail=detail,
        path=request.url.path,
        request_id=request_id_of(request),
        headers=error.headers,
    )


async def _on_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_GONE_STATUS)


def _headers(error: errors.AtlasError) -> dict[str, str]:
    if isinstance(error, errors.RequestTooSlow):
        return {"Connection": "close"}  # the rest of the body would have to be awaited
    if status_of(error) not in (429, 503):
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after_s or 1)))}
