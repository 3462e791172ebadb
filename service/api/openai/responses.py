"""Response to a completion or chat request, complete or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import structlog
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.keys.caller_engine import OpensExchanges
from service.api.requests.bodies import JSON_TYPE
from service.api.requests.deadlines import while_connected
from service.api.responses.openapi import EVENTS_TYPE
from service.api.telemetry.request_record import note_error
from service.completions.errors import openai_error
from service.completions.response_builder import ResponseBuilder
from service.engine.requests import Delta, RowDone
from service.errors import AtlasError, InvalidRequest
from service.hosting.ipc.engine_client import Exchange
from service.hosting.ipc.messages import Submit
from service.hosting.ipc.tensor_results import OpenResult

_DONE = b"data: [DONE]\n\n"
_log = structlog.get_logger(__name__)


async def respond(
    request: Request, builder: ResponseBuilder, *, job: Submit, engine: OpensExchanges, deadline_s: float
) -> Response:
    """Run the request and send its response, as a stream if the client requested one."""
    if builder.is_streamed:
        return await _stream(request, builder, job=job, engine=engine, deadline_s=deadline_s)

    async def collect() -> None:
        async with engine.open(job, deadline_s=deadline_s) as exchange:
            while (step := await _next_of(exchange, builder)) is not None:
                builder.add(step)

    await while_connected(request, collect())
    return Response(builder.json(builder.complete()), media_type=JSON_TYPE)


async def _stream(
    request: Request, builder: ResponseBuilder, *, job: Submit, engine: OpensExchanges, deadline_s: float
) -> StreamingResponse:
    """Wait for the first step, so that errors before it become HTTP statuses, then stream."""
    stack = AsyncExitStack()
    try:
        exchange = await stack.enter_async_context(engine.open(job, deadline_s=deadline_s))
        first = await while_connected(request, _next_of(exchange, builder))
    except BaseException:
        await stack.aclose()
        raise
    return _Stream(_events(builder, exchange, first), stack=stack)


async def _events(builder: ResponseBuilder, exchange: Exchange, first: Delta | RowDone | None) -> AsyncIterator[bytes]:
    for opening in builder.first_chunks():
        yield _event(builder.json(opening))
    step = first
    try:
        while step is not None:
            builder.add(step)
            if (chunk := builder.chunk(step)) is not None:
                yield _event(builder.json(chunk))
            step = await _next_of(exchange, builder)
    except AtlasError as error:
        # The status is sent already: OpenAI's clients look for an error among the events.
        note_error(error)
        _log.warning("stream ended early", error=error.title)
        yield _event(openai_error(error).model_dump_json().encode())
        return
    if (last := builder.last_chunk()) is not None:
        yield _event(builder.json(last))
    yield _DONE


class _Stream(StreamingResponse):
    """Closes the exchange when the stream is sent, or when the client disconnects, even before the start."""

    def __init__(self, content: AsyncIterator[bytes], *, stack: AsyncExitStack) -> None:
        super().__init__(content, media_type=EVENTS_TYPE, headers={"Cache-Control": "no-cache"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stack.aclose()


async def _next_of(exchange: Exchange, builder: ResponseBuilder) -> Delta | RowDone | None:
    try:
        step = await anext(exchange, None)
    except InvalidRequest as error:
        raise builder.error_of(error) from None
    if isinstance(step, OpenResult):
        raise TypeError("expected the output of a row, got a tensor result")
    return step


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
