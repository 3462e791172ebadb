"""Authentication by API key, and scopes: ``admin`` includes ``write``, which includes ``read``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from service.api.services import ServicesDep
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


ANONYMOUS = Caller(name="anonymous", scope="admin")


def identify(key: str | None, *, keys: Sequence[ApiKey]) -> Caller | None:
    """The owner of a key; None for an unknown one. The comparison takes constant time."""
    if key is None:
        return None
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    matching = [known for known in keys if hmac.compare_digest(known.sha256, digest)]
    return Caller(name=matching[0].name, scope=matching[0].scope) if matching else None


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency that requires ``scope``: 401 without a valid key, 403 for a key with a lesser scope."""

    async def check(
        request: Request,
        services: ServicesDep,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
        header: Annotated[str | None, Security(_header)] = None,
    ) -> Caller:
        keys = services.settings.api_keys
        caller = identify(bearer.credentials if bearer else header, keys=keys) if keys else ANONYMOUS
        if caller is None:
            given = bearer is not None or header is not None
            detail = "The API key is unknown to this server." if given else "This route requires an API key."
            raise HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
        if _RANKS[caller.scope] < _RANKS[scope]:
            raise HTTPException(403, f"Expected a key with scope {scope!r}; this key has {caller.scope!r}.")
        request.state.caller = caller.name
        return caller

    return check


Reader = Annotated[Caller, Depends(require("read"))]
Writer = Annotated[Caller, Depends(require("write"))]
Admin = Annotated[Caller, Depends(require("admin"))]
