"""What can go wrong between a client and a server.

PromptAtlasError
├── ConnectionFailedError         no answer came
│   └── TimedOutError             not in time
├── BrokenStreamError             a stream ended before its end mark
├── UnexpectedAnswerError         the answer is not what the contract says
├── UnsafeFileError               an upload that would need pickle
├── RunFailedError                a run ended without success; says why
│   └── RunCancelledError         because it was asked to
└── ProblemError                  the server said no; one class a status
    ├── BadRequestError           400
    ├── AuthenticationError       401 no key, or a wrong one
    ├── ForbiddenError            403 the key lacks the scope
    ├── NotFoundError             404 no such model, prompt, version or alias
    ├── ConflictError             409 it would overwrite or break something
    ├── TooLargeError             413 over a limit, with the way to shrink it
    ├── UnsupportedFormatError    415
    ├── InvalidRequestError       422 (raised before sending, too, where the fault can be seen here)
    ├── TooManyRequestsError      429 the queue is full
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
    """Base of all errors of this package."""


class ConnectionFailedError(PromptAtlasError):
    """No answer came: the server cannot be reached, or the connection broke."""


class TimedOutError(ConnectionFailedError):
    """No answer came in time. ``connecting``: nothing had been sent yet."""

    def __init__(self, detail: str, *, connecting: bool) -> None:
        super().__init__(detail)
        self.connecting = connecting


class BrokenStreamError(PromptAtlasError):
    """A stream ended before its end mark: what came is not all there was to come."""


class UnexpectedAnswerError(PromptAtlasError):
    """The answer is not what the contract says: another kind of server, or a much older or newer one."""


class UnsafeFileError(PromptAtlasError):
    """The file would have to be unpickled to be read, which neither side does."""


class RunFailedError(PromptAtlasError):
    """A run that was waited for ended without success. reason: why, as its worker saw it."""

    def __init__(self, run_id: str, *, reason: str, attempts: int = 0) -> None:
        tried = f" (attempt {attempts})" if attempts > 1 else ""
        super().__init__(f"run {run_id} failed{tried}: {reason}")
        self.run_id = run_id
        self.reason = reason
        self.attempts = attempts


class RunCancelledError(RunFailedError):
    """A run that was waited for was cancelled; ``resume`` goes on with it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id, reason="cancelled")
        self.args = (f"run {run_id} was cancelled",)


class ProblemError(PromptAtlasError):
    """The server refused.

    status: HTTP status. title: what kind of problem. detail: what was expected and what came.
    errors: for validation, where each fault stands. request_id: what the server's log knows the request by.
    retry_after_s: seconds after which trying again makes sense. code, param: as OpenAI's routes give them.
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
        # What the detail has said already needs no second telling.
        told = [item for item in self.errors if item.msg not in self.detail]
        faults = "; ".join(f"{'.'.join(map(str, item.loc))}: {item.msg}" for item in told)
        text = f"{self.status} {self.title}"
        # A title says it all where a server has nothing to add.
        for more in (self.detail if self.detail != self.title else "", faults):
            if more and more not in text:
                text += f": {more}"
        return f"{text} (request {self.request_id})" if self.request_id else text


class BadRequestError(ProblemError):
    """400: the request cannot be read."""


class AuthenticationError(ProblemError):
    """401: no key, or a wrong one."""


class ForbiddenError(ProblemError):
    """403: the key lacks the scope."""


class NotFoundError(ProblemError):
    """404: no such model, prompt, version or alias."""


class ConflictError(ProblemError):
    """409: it would overwrite or break something."""


class TooLargeError(ProblemError):
    """413: over a limit of the server; ``detail`` says which, and how to get under it."""


class UnsupportedFormatError(ProblemError):
    """415: a content type that the route does not take."""


class InvalidRequestError(ProblemError):
    """422: the request cannot be done as asked; ``errors`` says where."""


class TooManyRequestsError(ProblemError):
    """429: the queue is full."""


class ServerError(ProblemError):
    """5xx: the server's own fault."""


class BadGatewayError(ServerError):
    """502: something between here and the server lost it."""


class UnavailableError(ServerError):
    """503: the engine is starting or lost."""


class DeadlineExceededError(ServerError):
    """504: the request's time ran out."""


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
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
    """The error that an answer with this status stands for.

    Args:
        headers: of the answer, with case-insensitive names.
        body: problem+json, OpenAI's error, or whatever a proxy wrote.
        now: the time that an HTTP date in ``Retry-After`` counts from.
    """
    told = _told(body)
    told.setdefault("detail", told.get("title") or f"HTTP status {status}")
    told.setdefault("title", "Error")
    told["request_id"] = told.get("request_id") or headers.get("x-request-id")
    return class_of(status)(status=status, retry_after_s=retry_after_s(headers, now=now), **told)


def stream_error(message: Any, headers: Mapping[str, str]) -> ProblemError | None:
    """The error that an event of a stream stands for; None where it stands for none."""
    if not isinstance(message, dict) or not ("error" in message or {"title", "status"} <= message.keys()):
        return None
    inner = message.get("error")
    code = str(message.get("status") or (inner.get("code") if isinstance(inner, dict) else ""))
    status = int(code) if code.isdigit() else 500
    return problem_error(status, headers, json.dumps(message).encode())


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """``Retry-After`` in seconds, from a number or an HTTP date; None where it is missing or unreadable."""
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


def _told(body: bytes) -> dict[str, Any]:
    try:
        openai = OpenAIErrorBody.model_validate_json(body).error
        return {"title": openai.type, "detail": openai.message, "code": openai.code, "param": openai.param}
    except pydantic.ValidationError:
        pass
    try:
        problem = Problem.model_validate_json(body)
    except pydantic.ValidationError:
        # A proxy's page is worth showing, but not all of it.
        text = body[:500].decode(errors="replace").strip()
        return {"detail": text} if text else {}
    known = {"title": problem.title, "request_id": problem.request_id, "errors": problem.errors or ()}
    return {**known, "detail": problem.detail} if problem.detail else known
