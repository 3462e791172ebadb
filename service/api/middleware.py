"""Around every request: its id, its line in the log, its numbers, the limit of its body, and a last net for faults."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import Metrics
from service.api.responses.errors import make_response
from service.errors import TooLarge

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/health", "/ready", "/metrics"})

_log = structlog.get_logger("service.access")


class RequestScope:
    """Gives each request an id (the client's if it is a sane one), logs and counts it, and answers what nobody caught."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status, started_s = 0, self._clock()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                _log.exception("request failed")
                if status:  # too late for another answer: the connection is cut, so that nobody takes it for whole
                    raise
                await _internal_error(scope["path"], request_id)(scope, receive, send_with_id)
            finally:
                self._note(scope, status=status, seconds=self._clock() - started_s)

    def _note(self, scope: Scope, *, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"  # clients must not make up labels
        self._metrics.observe(method=method, route=route, status=status, seconds=seconds)
        if scope["path"] in _QUIET:
            return
        _log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            caller=scope["state"].get("caller"),
        )


class BodyLimit:
    """Stops reading a body that is over its limit, which depends on the path."""

    def __init__(self, app: ASGIApp, *, limit_of: Callable[[str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, n_bytes = self._limit_of(scope["path"]), 0

        async def receive_within() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > limit:
                raise TooLarge(f"The body is over this route's limit of {limit:,} bytes. Send less in one request.")
            return message

        await self._app(scope, receive_within, send)


def _internal_error(path: str, request_id: str) -> ASGIApp:
    return make_response(
        500,
        title="Internal error",
        detail="The server failed on this request; its log says why, under the request's id.",
        path=path,
        request_id=request_id,
    )
