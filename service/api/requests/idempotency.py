"""``Idempotency-Key``: a POST sent again is answered as the first one was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import Header, Request, Response

from service.store.idempotency import Attempt, IdempotencyStore, StoredResponse

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="Any string of yours; the same one again, with the same body, gets the same answer.",
    ),
]


async def replayed(
    request: Request,
    store: IdempotencyStore,
    *,
    key: str | None,
    caller: str,
    body: bytes,
    work: Callable[[], StoredResponse],
) -> Response:
    """The answer of ``work``, which blocks and is done once for each key of each caller.

    Raises:
        Conflict: the key is in use with another body, or its first request is still running.
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
    # Shielded: once begun it is finished and noted down, though the client may be gone.
    return _response(await asyncio.shield(asyncio.to_thread(_do, store, attempt, work)))


def _do(store: IdempotencyStore, attempt: Attempt, work: Callable[[], StoredResponse]) -> StoredResponse:
    try:
        answer = work()
    except BaseException:
        # Nothing was made: trying again under the same key, perhaps with the fault mended, must be possible.
        store.abandon(attempt)
        raise
    store.finish(attempt, response=answer)
    return answer


def _response(answer: StoredResponse) -> Response:
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers))
