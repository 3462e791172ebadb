"""Middleware of the origin policy: 403 for other hosts and origins, and CORS headers for the allowed origins."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.origin_policy import OriginPolicy
from service.api.responses.errors import make_response

_METHODS = "GET, HEAD, POST, PUT, DELETE"
_LIMITS = ", ".join(
    f"x-ratelimit-{part}-{kind}" for part in ("limit", "remaining", "reset") for kind in ("requests", "tokens")
)
_EXPOSED = f"Content-Disposition, Idempotent-Replayed, Location, Retry-After, X-Request-ID, {_LIMITS}"
_PREFLIGHT_AGE_S: Final = 600


class OriginGuard:
    """Refuses a request that the policy does not allow, on every route, before its body is read."""

    def __init__(self, app: ASGIApp, *, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._policy.refusal(scope["method"], headers=headers)
        if refusal is not None:
            response = make_response(
                403,
                title=refusal.title,
                detail=refusal.detail,
                path=scope["path"],
                request_id=scope["state"]["request_id"],
            )
            await response(scope, receive, send)
        elif self._is_preflight(scope["method"], headers):
            await _preflight_response(headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_preflight(self, method: str, headers: Headers) -> bool:
        is_allowed = self._policy.allows_origin(headers.get("origin", ""))
        return method == "OPTIONS" and "access-control-request-method" in headers and is_allowed


class CorsHeaders:
    """Lets pages of the allowed origins read responses, errors included. Without allowed origins it does nothing."""

    def __init__(self, app: ASGIApp, *, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._policy.origins:
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin", "")

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if self._policy.allows_origin(origin):
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = _EXPOSED
            await send(message)

        await self._app(scope, receive, send_with_origin)


def _preflight_response(headers: Headers) -> Response:
    """Response to a preflight of an allowed origin. Keys are in headers, so credentials (cookies) are not allowed."""
    allowed = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S)}
    requested = headers.get("access-control-request-headers")
    if requested:
        allowed["Access-Control-Allow-Headers"] = requested
    if headers.get("access-control-request-private-network") == "true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return Response(status_code=204, headers=allowed)
