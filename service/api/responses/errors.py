"""Error responses: RFC 9457 on every route, OpenAI's format on the OpenAI-compatible routes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from promptatlas.types import OpenAIError, OpenAIErrorBody, Problem, ProblemItem
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import errors
from service.api.problem_types import problem_type, slug_of
from service.api.requests.deadlines import ClientGone
from service.api.services import request_id_of
from service.api.telemetry.request_record import note_error

PROBLEM_TYPE = "application/problem+json"
# OpenAI's paths, without those of models. Its clients show only errors in OpenAI's format. Errors on paths of models are
# problems, as on other routes, with OpenAI's format in a member of their own.
_MODELS_PATH = re.compile(r"/v1/models(/.*)?")
_OPENAI_PATH = re.compile(
    r"/v1/(assistants|audio|batches|chat|completions|containers|conversations|edits|embeddings|engines|evals|files|fine_tuning|"
    r"images|moderations|organization|realtime|responses|threads|uploads|vector_stores|videos)(/.*)?"
)

_MAX_ITEMS = 20
_MAX_PART = 80
_GONE_STATUS = 499  # nginx's "client closed request"; only the log shows it

_STATUSES: Mapping[type[errors.AtlasError], int] = {
    errors.InvalidRequest: 422,
    errors.Expired: 410,  # before its base class
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Busy: 429,
    errors.Unavailable: 503,
    errors.RequestTooSlow: 408,
    errors.DeadlineExceeded: 504,
}
_OPENAI_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


def status_of(error: errors.AtlasError) -> int:
    """The HTTP status of an error; 500 for errors of the server itself."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)


def respond(error: errors.AtlasError, *, path: str, request_id: str) -> Response:
    """The response for ``error`` on a request for ``path``."""
    items = [] if error.loc is None else [ProblemItem(loc=_short(error.loc), msg=error.detail)]
    return make_response(
        status_of(error),
        title=error.title,
        detail=error.detail,
        path=path,
        request_id=request_id,
        items=items,
        headers=_headers(error),
    )


def openai_error(error: errors.AtlasError) -> OpenAIErrorBody:
    """An error in OpenAI's format, also used inside streams."""
    items = [] if error.loc is None else [ProblemItem(loc=_short(error.loc), msg=error.detail)]
    return _openai_body(status_of(error), title=error.title, detail=error.detail, items=items)


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
    openai = _openai_body(status, title=title, detail=detail, items=items)
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


def validation_items(found: Sequence[Mapping[str, Any]]) -> list[ProblemItem]:
    """pydantic's errors without the input, which may be long or secret."""
    return [ProblemItem(loc=_short(fault["loc"]), msg=_message(fault)) for fault in found[:_MAX_ITEMS]]


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
        detail="; ".join(f"{'.'.join(map(str, item.loc))}: {item.msg}" for item in items[:3]),
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


def _openai_body(status: int, *, title: str, detail: str, items: Sequence[ProblemItem]) -> OpenAIErrorBody:
    param = ".".join(map(str, items[0].loc)) if items else None
    kind = _OPENAI_TYPES.get(status, "invalid_request_error")
    code = "model_not_found" if status == 404 and param == "model" else slug_of(title).replace("-", "_")
    return OpenAIErrorBody(error=OpenAIError(message=detail, type=kind, code=code, param=param))


def _headers(error: errors.AtlasError) -> dict[str, str]:
    if isinstance(error, errors.RequestTooSlow):
        return {"Connection": "close"}  # the rest of the body would have to be awaited
    if status_of(error) not in (429, 503):
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after_s or 1)))}


def _short(loc: Sequence[str | int]) -> list[str | int]:
    return [part if isinstance(part, int) else part[:_MAX_PART] for part in loc]


def _message(fault: Mapping[str, Any]) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message if len(message) <= 300 else f"{message[:300]}…"
