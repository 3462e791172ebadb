"""Exceptions of the SDK.

PromptAtlasError
├── ConnectionFailedError         no response was received
│   └── TimedOutError             not before the timeout
├── BrokenStreamError             a stream ended before its end mark
├── UnexpectedAnswerError         a response that violates the API contract
├── UnsafeFileError               a file that is a pickle
├── RunFailedError                a run failed
│   └── RunCancelledError         a run was cancelled
└── ProblemError                  an error response; one class for each status
    ├── BadRequestError           400
    ├── AuthenticationError       401 the key is missing or wrong
    ├── ForbiddenError            403 the key lacks a scope
    ├── NotFoundError             404 no such model, prompt, version or alias
    ├── ConflictError             409 the request conflicts with stored objects
    ├── ExpiredError              410 the server has removed it because of its age or size
    ├── TooLargeError             413 a limit is exceeded; the detail suggests how to stay below it
    ├── UnsupportedFormatError    415
    ├── InvalidRequestError       422 also raised by the SDK before it sends an invalid request
    ├── TooManyRequestsError      429 the queue is full
    │   └── RateLimitError        a limit of the API key is reached
    └── ServerError               5xx
        ├── BadGatewayError       502
        ├── UnavailableError      503 the engine is starting or lost
        └── DeadlineExceededError 504
"""

from __future__ import annotations

import email.utils
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pydantic

from promptatlas.types import OpenAIErrorBody, Problem, ProblemItem


class PromptAtlasError(Exception):
    """Base class of all exceptions of this package."""


class ConnectionFailedError(PromptAtlasError):
    """No response was received: the server cannot be reached, or the connection broke."""


class TimedOutError(ConnectionFailedError):
    """No response was received before the timeout. connecting: the connection was not established, so nothing was sent."""

    def __init__(self, detail: str, *, connecting: bool) -> None:
        super().__init__(detail)
        self.connecting = connecting


class BrokenStreamError(PromptAtlasError):
    """A stream ended before its end mark, so its values are incomplete."""


class UnexpectedAnswerError(PromptAtlasError):
    """The response violates the API contract: it is from another kind of server, or from an incompatible version."""


class UnsafeFileError(PromptAtlasError):
    """The file is a pickle, which neither the SDK nor the server loads."""


class RunFailedError(PromptAtlasError):
    """A run has failed. reason: the error of the worker. attempts: number of times that a worker has started the run."""

    def __init__(self, run_id: str, *, reason: str, attempts: int = 0) -> None:
        tried = f" (attempt {attempts})" if attempts > 1 else ""
        super().__init__(f"run {run_id} failed{tried}: {reason}")
        self.run_id = run_id
        self.reason = reason
        self.attempts = attempts


class RunCancelledError(RunFailedError):
    """A run was cancelled; ``resume`` continues it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id, reason="cancelled")
        self.args = (f"run {run_id} was cancelled",)


class ProblemError(PromptAtlasError):
    """An error response of the server.

    status: HTTP status. title: kind of problem. detail: what was expected and what was received.
    errors: location and message of each invalid field. request_id: identifier of the request in the server's log.
    retry_after_s: seconds to wait before a retry. code, param: fields of OpenAI's error format.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        title: str = "Error",
        request_id: str | None = None,
        errors: Sequence[ProblemItem] = (),
        retry_after_s: float | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.title = title
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.code = code
        self.param = param

    def __str__(self) -> str:
        # Messages that the detail repeats are omitted.
        items = [item for item in self.errors if item.msg not in self.detail]
        faults = "; ".join(f"{'.'.join(map(str, item.loc))}: {item.msg}" for item in items)
        text = f"{self.status} {self.title}"
        for more in (self.detail if self.detail != self.title else "", faults):
            if more and more not in text:
                text += f": {more}"
        return f"{text} (request {self.request_id})" if self.request_id else text


class BadRequestError(ProblemError):
    """400: the request is malformed."""


class AuthenticationError(ProblemError):
    """401: the key is missing or wrong."""


class ForbiddenError(ProblemError):
    """403: the key lacks a scope."""


class NotFoundError(ProblemError):
    """404: no such model, prompt, version or alias."""


class ConflictError(ProblemError):
    """409: the request conflicts with stored objects."""


class ExpiredError(ProblemError):
    """410: it was here, and the server has removed it because of its age or size."""


class TooLargeError(ProblemError):
    """413: a limit of the server is exceeded; ``detail`` names it, and suggests how to stay below it."""


class UnsupportedFormatError(ProblemError):
    """415: the route does not accept the content type."""


class InvalidRequestError(ProblemError):
    """422: the request is invalid; ``errors`` has the locations."""


class TooManyRequestsError(ProblemError):
    """429: the queue is full."""


class RateLimitError(TooManyRequestsError):
    """429: a limit of the API key is reached: requests or tokens a minute, or rows at the same time. ``retry_after_s``: until
    there is room; calls wait for it and retry, as for other errors of this status.
    """


class ServerError(ProblemError):
    """5xx: the server failed."""


class BadGatewayError(ServerError):
    """502: a proxy could not reach the server."""


class UnavailableError(ServerError):
    """503: the engine is starting or lost."""


class DeadlineExceededError(ServerError):
    """504: the deadline of the request has passed."""


_RATE_LIMIT = "rate_limit_exceeded"

_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    413: TooLargeError,
    415: UnsupportedFormatError,
    422: InvalidRequestError,
    429: TooManyRequestsError,
    502: BadGatewayError,
    503: UnavailableError,
    504: DeadlineExceededError,
}


def class_of(status: int) -> type[ProblemError]:
    """The error class of an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ProblemError)


def problem_error(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None) -> ProblemError:
    """The error of a response with this status.

    Args:
        headers: headers of the response, with case-insensitive names.
        body: problem+json, OpenAI's error format, or the page of a proxy.
        now: current time, subtracted from an HTTP date in ``Retry-After``.
    """
    fields = _fields(body)
    fields.setdefault("detail", fields.get("title") or f"HTTP status {status}")
    fields.setdefault("title", "Error")
    fields["request_id"] = fields.get("request_id") or headers.get("x-request-id")
    is_limit = _RATE_LIMIT in (fields.get("code"), fields.pop("type", None))
    kind = RateLimitError if status == 429 and is_limit else class_of(status)
    return kind(status=status, retry_after_s=retry_after_s(headers, now=now), **fields)


def stream_error(message: Any, headers: Mapping[str, str]) -> ProblemError | None:
    """The error in an event of a stream; None if the event is not an error."""
    if not isinstance(message, dict) or not ("error" in message or {"title", "status"} <= message.keys()):
        return None
    inner = message.get("error")
    code = str(message.get("status") or (inner.get("code") if isinstance(inner, dict) else ""))
    status = int(code) if code.isdigit() else 500
    return problem_error(status, headers, json.dumps(message).encode())


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """``Retry-After`` in seconds, from a number or an HTTP date; None if it is missing or invalid."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value, now=now or datetime.now(timezone.utc))
    return seconds if 0 <= seconds < float("inf") else None


def _seconds_until(date: str, *, now: datetime) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max((when - now).total_seconds(), 0.0)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        openai = OpenAIErrorBody.model_validate_json(body).error
        return {"title": openai.type, "detail": openai.message, "code": openai.code, "param": openai.param}
    except pydantic.ValidationError:
        pass
    try:
        problem = Problem.model_validate_json(body)
    except pydantic.ValidationError:
        # The page of a proxy may be long: its beginning is enough.
        text = body[:500].decode(errors="replace").strip()
        return {"detail": text} if text else {}
    kind = problem.type.rpartition(":")[2].replace("-", "_")
    known = {"type": kind, "title": problem.title, "request_id": problem.request_id, "errors": problem.errors or ()}
    return {**known, "detail": problem.detail} if problem.detail else known
