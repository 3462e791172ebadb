"""``Idempotency-Key``: a repeated POST gets the response of the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import Header, Request, Response
from pydantic import BaseModel

from service.api.requests.bodies import JSON_TYPE
from service.store.idempotency import Attempt, IdempotencyStore, StoredResponse

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="A client-chosen string. A repeated request with the same key and body gets the same response.",
    ),
]


async def respond_once(
    request: Request,
    store: IdempotencyStore,
    *,
    key: str | None,
    caller: str,
    body: bytes,
    work: Callable[[], StoredResponse],
) -> Response:
    """The response of ``work``, which may block and runs once per key and caller.

    Args:
        body: identifies the request: the body itself, or its hash.

    Raises:
        Conflict: the key was used with another body, or its first request is still running.
    """
    if key is None:
        return _response(await asyncio.to_thread(work))
    query = f"?{request.url.query}" if request.url.query else ""
    route = f"{request.method} {request.url.path}{query}"
    attempt = await asyncio.to_thread(store.begin, key, api_key_name=caller, route=route, body=body)
    if isinstance(attempt, StoredResponse):
        response = _response(attempt)
        response.headers["Idempotent-Replayed"] = "true"
        return response
    # Shielded: work that has started is completed and recorded even if the client disconnects.
    return _response(await asyncio.shield(asyncio.to_thread(_run, store, attempt, work)))


def created(resource: BaseModel, *, location: str, status: int = 201) -> StoredResponse:
    """The response with a created resource."""
    return StoredResponse(
        status=status,
        headers={"Location": location, "Content-Type": JSON_TYPE},
        body=resource.model_dump_json().encode(),
    )


def _run(store: IdempotencyStore, attempt: Attempt, work: Callable[[], StoredResponse]) -> StoredResponse:
    try:
        response = work()
    except BaseException:
        # Nothing was created: a retry with the same key, perhaps of a corrected request, must be possible.
        store.abandon(attempt)
        raise
    store.finish(attempt, response=response)
    return response


def _response(stored: StoredResponse) -> Response:
    return Response(stored.body, status_code=stored.status, headers=dict(stored.headers))
