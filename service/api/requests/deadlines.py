"""How long a request waits: until its deadline, and no longer than its client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request

from service.api.responses.errors import ClientGone
from service.api.services import ServicesDep
from service.errors import InvalidRequest

Answer = TypeVar("Answer")


async def _deadline(
    services: ServicesDep,
    timeout: Annotated[
        str | None,
        Header(
            alias="X-Request-Timeout",
            description="Seconds after which the request is given up (504); capped by the server.",
            json_schema_extra={"type": "number", "exclusiveMinimum": 0},
        ),
    ] = None,
) -> float:
    settings = services.settings
    seconds = min(settings.timeout_s, settings.max_timeout_s) if timeout is None else _seconds(timeout)
    return services.hub.deadline_in(min(seconds, settings.max_timeout_s))


Deadline = Annotated[float, Depends(_deadline)]
"""When to give up, on the hub's clock."""


async def while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer of ``work``, which is cancelled when the client closes its connection.

    The body must have been read. Raises :class:`ClientGone`, and what ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _wait_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest(
            f"X-Request-Timeout takes seconds above 0, as a number; got {text[:40]!r}.",
            loc=("header", "X-Request-Timeout"),
        )
    return seconds
