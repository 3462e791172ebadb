"""Statuses of errors, and errors in OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from promptatlas.types import OpenAIError, OpenAIErrorBody, ProblemItem

from service import errors
from service.problem_types import slug_of

_MAX_PART = 80
_MAX_ITEMS = 20

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


def items_of(error: errors.AtlasError) -> list[ProblemItem]:
    """The error with its location; nothing without a location."""
    return [] if error.loc is None else [ProblemItem(loc=short_loc(error.loc), msg=error.detail)]


def openai_error(error: errors.AtlasError) -> OpenAIErrorBody:
    """An error in OpenAI's format, also used inside streams and batches."""
    return openai_body(status_of(error), title=error.title, detail=error.detail, items=items_of(error))


def openai_body(status: int, *, title: str, detail: str, items: Sequence[ProblemItem]) -> OpenAIErrorBody:
    """An error with this status in OpenAI's format. items: its locations; the first is ``param``."""
    param = ".".join(map(str, items[0].loc)) if items else None
    kind = _OPENAI_TYPES.get(status, "invalid_request_error")
    code = "model_not_found" if status == 404 and param == "model" else slug_of(title).replace("-", "_")
    return OpenAIErrorBody(error=OpenAIError(message=detail, type=kind, code=code, param=param))


def short_loc(loc: Sequence[str | int]) -> list[str | int]:
    """A location whose parts are not too long to be shown."""
    return [part if isinstance(part, int) else part[:_MAX_PART] for part in loc]


def validation_items(found: Sequence[Mapping[str, Any]]) -> list[ProblemItem]:
    """pydantic's errors without the input, which may be long or secret."""
    return [ProblemItem(loc=short_loc(fault["loc"]), msg=_message(fault)) for fault in found[:_MAX_ITEMS]]


def validation_detail(items: Sequence[ProblemItem]) -> str:
    """The first errors in one line."""
    return "; ".join(f"{'.'.join(map(str, item.loc))}: {item.msg}" for item in items[:3])


def _message(fault: Mapping[str, Any]) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message if len(message) <= 300 else f"{message[:300]}…"
