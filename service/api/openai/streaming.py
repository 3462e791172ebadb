"""What completions and chat share: waiting for an answer, whole or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import structlog
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.openai.wire import Tally
from service.api.requests.deadlines import while_connected
from service.api.responses.errors import openai_error
from service.engine.requests import Delta, RowDone
from service.errors import AtlasError
from service.hosting.ipc.engine_client import EngineClient, Exchange, Step
from service.hosting.ipc.messages import Submit

EVENTS_TYPE = "text/event-stream"
_DONE = b"data: [DONE]\n\n"
_log = structlog.get_logger(__name__)

Chunker = Callable[[Delta | RowDone], BaseModel | None]
"""Makes the event of something that happened; None for no event."""


async def whole(request: Request, job: Submit, *, hub: EngineClient, deadline_s: float, tally: Tally) -> None:
    """Wait for the end of a request, adding all that happens to ``tally``."""

    async def wait() -> None:
        async with hub.open(job, deadline_s=deadline_s) as exchange:
            async for step in exchange:
                tally.add(_row_step(step))

    await while_connected(request, wait())


async def streamed(
    request: Request,
    job: Submit,
    *,
    hub: EngineClient,
    deadline_s: float,
    tally: Tally,
    chunker: Chunker,
    first: list[BaseModel],
    last: Callable[[Tally], BaseModel | None],
) -> StreamingResponse:
    """Wait for the first thing that happens, so that errors are statuses, then answer with the stream.

    Args:
        first: events before all others. last: the event after all others, if any.
    """
    stack = AsyncExitStack()
    try:
        exchange = await stack.enter_async_context(hub.open(job, deadline_s=deadline_s))
        opening = await while_connected(request, _next_of(exchange))
    except BaseException:
        await stack.aclose()
        raise

    async def events() -> AsyncIterator[bytes]:
        for event in first:
            yield _event(event)
        try:
            step: Step | None = opening
            while step is not None:
                happening = _row_step(step)
                tally.add(happening)
                chunk = chunker(happening)
                if chunk is not None:
                    yield _event(chunk)
                step = await _next_of(exchange)
        except AtlasError as error:
            # The status is long sent: clients of OpenAI's streams look for an error among the events.
            _log.warning("stream ended early", error=error.title)
            yield _event(openai_error(error))
            return
        ending = last(tally)
        if ending is not None:
            yield _event(ending)
        yield _DONE

    return _Stream(events(), stack=stack)


class _Stream(StreamingResponse):
    """Leaves the exchange when it has been sent, or the client has gone, even if it never began."""

    def __init__(self, content: AsyncIterator[bytes], *, stack: AsyncExitStack) -> None:
        super().__init__(content, media_type=EVENTS_TYPE, headers={"Cache-Control": "no-cache"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stack.aclose()


async def _next_of(exchange: Exchange) -> Step | None:
    async for step in exchange:
        return step
    return None


def _row_step(step: Step) -> Delta | RowDone:
    if not isinstance(step, Delta | RowDone):
        raise TypeError("a completion ended in tensors")
    return step


def _event(message: BaseModel) -> bytes:
    return b"data: " + message.model_dump_json().encode() + b"\n\n"
