"""Authentication by API key, and scopes: ``admin`` includes ``write``, which includes ``read``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from service.api.keys.key_ring import KeyRing
from service.api.services import Services, ServicesDep
from service.settings import ApiKey, Scope

_RANKS: dict[Scope, int] = {"read": 0, "write": 1, "admin": 2}

_bearer = HTTPBearer(auto_error=False, description="An API key of this server.")
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The API key, as an alternative to the bearer token."
)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request. name: of the API key; ``anonymous`` on a server without keys."""

    name: str
    scope: Scope
    key: ApiKey | None = None


ANONYMOUS = Caller(name="anonymous", scope="admin")


def identify(key: str | None, *, keys: KeyRing) -> Caller:
    """The owner of a key.

    Raises:
        HTTPException: 401, there is no key, or it is unknown or expired.
    """
    if not keys.required:
        return ANONYMOUS
    if key is None:
        raise _unauthorized("This route requires an API key.")
    known = keys.find(key)
    if known is None:
        raise _unauthorized("The API key is unknown to this server.")
    if known.expires is not None and keys.is_expired(known):
        raise _unauthorized(f"The API key has expired at {known.expires.isoformat()}.")
    return Caller(name=known.name, scope=known.scope, key=known)


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency that requires ``scope``: 401 without a valid key, 403 for a lesser scope, 429 over the limit of requests."""

    async def check(
        request: Request,
        services: ServicesDep,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
        header: Annotated[str | None, Security(_header)] = None,
    ) -> Caller:
        caller = identify(bearer.credentials if bearer else header, keys=services.keys)
        if _RANKS[caller.scope] < _RANKS[scope]:
            raise HTTPException(403, f"Expected a key with scope {scope!r}; this key has {caller.scope!r}.")
        request.state.caller = caller.name
        await _count(request, services, key=caller.key)
        return caller

    return check


async def _count(request: Request, services: Services, *, key: ApiKey | None) -> None:
    """Count the request, once: a route may require a scope besides the one of its router."""
    if not hasattr(request.state, "rate_headers"):
        request.state.key, request.state.rate_headers = key, {}
        if key is not None:
            await services.limits.count_request(key, headers=request.state.rate_headers)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})


Reader = Annotated[Caller, Depends(require("read"))]
Writer = Annotated[Caller, Depends(require("write"))]
Admin = Annotated[Caller, Depends(require("admin"))]
