"""Deadlines of requests, and cancellation when the client disconnects."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request

from service.api.services import ServicesDep
from service.errors import InvalidRequest

Result = TypeVar("Result")


class ClientGone(Exception):
    """The client disconnected before the response."""


async def _deadline(
    services: ServicesDep,
    timeout: Annotated[
        str | None,
        Header(
            alias="X-Request-Timeout",
            description="Seconds until the request is aborted (504), at most the server's limit.",
            json_schema_extra={"type": "number", "exclusiveMinimum": 0},
        ),
    ] = None,
) -> float:
    settings = services.settings
    seconds = min(settings.timeout_s, settings.max_timeout_s) if timeout is None else _seconds(timeout)
    return services.engine.deadline_in(min(seconds, settings.max_timeout_s))


Deadline = Annotated[float, Depends(_deadline)]
"""The deadline on the clock of the engine client."""


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``, which is cancelled when the client disconnects.

    The body must have been read. Raises :class:`ClientGone`, and what ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_wait_disconnected(request))
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for pending in (task, disconnected):
            pending.cancel()
        await asyncio.gather(task, disconnected, return_exceptions=True)


async def _wait_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest(
            f"Expected X-Request-Timeout in seconds, a number above 0; got {text[:40]!r}.",
            loc=("header", "X-Request-Timeout"),
        )
    return seconds
