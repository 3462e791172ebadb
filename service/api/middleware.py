"""Middleware: request ids, access lines, metrics, spans, refusal while stopping, body limits, the response to exceptions."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.intake import Intake
from service.api.responses.errors import make_response, respond
from service.api.telemetry.access_log import QUIET_PATHS, write_access_line
from service.api.telemetry.metrics import Metrics
from service.api.telemetry.request_record import RequestRecord, recording
from service.api.telemetry.request_spans import RequestSpan
from service.errors import ShuttingDown, TooLarge
from service.tracing.spans import Tracer

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_RETRY_AFTER_S = 5.0

_log = structlog.get_logger("service.access")


class RequestScope:
    """Assigns a request id (the client's if it is valid); logs, counts and traces requests; handles unexpected exceptions."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        method = scope["method"] if scope["method"] in _METHODS else "other"  # Clients must not create labels.
        span = RequestSpan(self._tracer, scope, method=method, request_id=request_id)
        record = RequestRecord(span=span.span)
        status, started_s = 0, self._clock()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers.update(scope["state"].get("rate_headers", {}))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                record.is_complete = True

        with structlog.contextvars.bound_contextvars(request_id=request_id), recording(record):
            try:
                await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:
                if status:
                    raise
                # The server stops and waits no longer for this request.
                await _shutting_down(scope["path"], request_id)(scope, receive, send_with_id)
            except Exception as error:
                record.error = error
                _log.exception("request failed")
                if status:  # The response has started: closing the connection marks it as incomplete.
                    raise
                await _internal_error(scope["path"], request_id)(scope, receive, send_with_id)
            finally:
                route, seconds = getattr(scope.get("route"), "path", "unmatched"), self._clock() - started_s
                self._metrics.observe(method=method, route=route, status=status, seconds=seconds)
                write_access_line(scope, record, route=route, status=status, seconds=seconds)
                span.end(record, method=method, route=route, status=status)


class IntakeGate:
    """503 for requests after the intake was closed, except for probes and metrics."""

    def __init__(self, app: ASGIApp, *, intake: Intake) -> None:
        self._app = app
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._intake.is_open or scope["path"] in QUIET_PATHS:
            await self._app(scope, receive, send)
            return
        await _shutting_down(scope["path"], scope["state"]["request_id"])(scope, receive, send)


class BodyLimit:
    """Refuses a body over its limit: before it is read if it has a ``Content-Length``, else as soon as it exceeds the limit.

    limit_of: limit in bytes for a path and a content type.
    """

    def __init__(self, app: ASGIApp, *, limit_of: Callable[[str, str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit_of(scope["path"], headers.get("content-type", "").partition(";")[0].strip().lower())
        n_announced, n_bytes = _content_length(headers), 0

        async def receive_within() -> Message:
            nonlocal n_bytes
            if n_announced > limit:
                raise _too_large(f"The body has {n_announced:,} bytes", limit=limit)
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > limit:
                raise _too_large("The body is larger", limit=limit)
            return message

        await self._app(scope, receive_within, send)


def _content_length(headers: Headers) -> int:
    given = headers.get("content-length", "")
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 20 else 0


def _too_large(received: str, *, limit: int) -> TooLarge:
    return TooLarge(
        f"{received}; the limit of this route for this Content-Type is {limit:,} bytes. Split the request, or send tensors as "
        "a part of a multipart form instead of JSON."
    )


def _shutting_down(path: str, request_id: str) -> ASGIApp:
    error = ShuttingDown("The server is shutting down.", retry_after_s=_RETRY_AFTER_S)
    response = respond(error, path=path, request_id=request_id)
    response.headers["Connection"] = "close"  # the next request of this client should reach another server
    return response


def _internal_error(path: str, request_id: str) -> ASGIApp:
    return make_response(
        500,
        title="Internal error",
        detail="The server failed on this request; its log has the reason under the request's id.",
        path=path,
        request_id=request_id,
    )
