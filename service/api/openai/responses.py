"""Response to a completion or chat request, complete or as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import structlog
from fastapi import Request, Response
from promptatlas.types import ChatCompletionRequest, CompletionRequest, PromptLogprobs, Usage
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.keys.caller_engine import OpensExchanges
from service.api.openai.formats import Format, Piece
from service.api.openai.prompt_logprobs import prompt_logprobs_of
from service.api.requests.bodies import JSON_TYPE
from service.api.requests.deadlines import while_connected
from service.api.responses.errors import openai_error
from service.api.responses.openapi import EVENTS_TYPE
from service.api.telemetry.request_record import note_error
from service.engine.requests import Delta, RowDone
from service.errors import AtlasError, InvalidRequest
from service.hosting.ipc.engine_client import Exchange
from service.hosting.ipc.messages import Submit
from service.hosting.ipc.tensor_results import OpenResult

_DONE = b"data: [DONE]\n\n"
_log = structlog.get_logger(__name__)


class ResponseBuilder:
    """Collects the output of one request and formats it.

    Args:
        with_logprobs: whether the client requested log-probabilities.
    """

    def __init__(
        self, job: Submit, *, spec: CompletionRequest | ChatCompletionRequest, wire_format: Format, with_logprobs: bool
    ) -> None:
        self.job = job
        self.is_streamed = spec.stream
        self._spec = spec
        self._n = spec.n
        self._model = spec.model
        self._with_usage = spec.stream_options is not None and spec.stream_options.include_usage
        self._format = wire_format
        self._with_logprobs = with_logprobs
        self._excluded: dict[str, Any] | None = None
        if spec.prompt_logprobs is None:
            self._excluded = {"prompt_logprobs": True, "choices": {"__all__": {"prompt_logprobs"}}}
        self._created = int(time.time())
        self._deltas: dict[int, list[Delta]] = {}
        self._ends: dict[int, RowDone] = {}

    def error_of(self, error: InvalidRequest) -> InvalidRequest:
        """The engine's error, with the name of the field that the client sent."""
        if error.loc is None or error.loc[0] != "inputs":
            return error
        return type(error)(error.detail, loc=self._input_loc(error.loc))

    def add(self, step: Delta | RowDone) -> None:
        """Record one step of a row."""
        if isinstance(step, RowDone):
            self._ends[step.row] = step
        elif not self.is_streamed:
            self._deltas.setdefault(step.row, []).append(step)

    def chunk(self, step: Delta | RowDone) -> BaseModel | None:
        """The chunk of one step; None for a step without content."""
        if isinstance(step, RowDone):
            return self._chunk(Piece(index=step.row, finish_reason=step.finish_reason))
        logprobs = step.logprobs if self._with_logprobs and step.logprobs else None
        if not step.text and logprobs is None:
            return None
        return self._chunk(Piece(index=step.row, text=step.text, logprobs=logprobs))

    def complete(self) -> BaseModel:
        """The complete response, with choices in row order."""
        choices = [self._format.choice(self._row(index)) for index in sorted({*self._deltas, *self._ends})]
        message = self._message(self._format.complete, choices, usage=self._usage)
        if self._format.has_one_prompt:
            return message.model_copy(update={"prompt_logprobs": self._prompt_logprobs(0)})
        return message

    def json(self, message: BaseModel) -> bytes:
        """The JSON of a response or chunk; it has ``prompt_logprobs`` only if the client requested them."""
        return message.model_dump_json(exclude=self._excluded).encode()

    def first_chunks(self) -> Iterator[BaseModel]:
        """Chunks before all output."""
        if self._format.opening is not None:
            for index in range(self._n):
                yield self._message(self._format.chunk, [self._format.opening(index)])

    def last_chunk(self) -> BaseModel | None:
        """The chunk with the token counts, if the client requested it."""
        return self._message(self._format.chunk, [], usage=self._usage) if self._with_usage else None

    @property
    def _usage(self) -> Usage:
        """Token counts. An input counts once, however many rows continue it."""
        n_input = sum(end.n_input for index, end in self._ends.items() if index % self._n == 0)
        n_generated = sum(end.n_generated for end in self._ends.values())
        return Usage(prompt_tokens=n_input, completion_tokens=n_generated, total_tokens=n_input + n_generated)

    def _row(self, index: int) -> Piece:
        deltas, end = self._deltas.get(index, []), self._ends.get(index)
        return Piece(
            index=index,
            text="".join(delta.text for delta in deltas),
            logprobs=[token for delta in deltas for token in delta.logprobs] if self._with_logprobs else None,
            finish_reason=None if end is None else end.finish_reason,
            prompt_logprobs=self._prompt_logprobs(index),
        )

    def _prompt_logprobs(self, index: int) -> PromptLogprobs | None:
        found = (delta.prompt_logprobs for delta in self._deltas.get(index, []) if delta.prompt_logprobs is not None)
        tokens = next(found, None)
        return None if tokens is None else prompt_logprobs_of(tokens)

    def _input_loc(self, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if isinstance(self._spec, ChatCompletionRequest):
            return ("messages",)
        return self._spec.loc_of_input(loc[1] if len(loc) > 1 and isinstance(loc[1], int) else None)

    def _chunk(self, piece: Piece) -> BaseModel:
        return self._message(self._format.chunk, [self._format.chunk_choice(piece)])

    def _message(self, kind: type[BaseModel], choices: list[BaseModel], *, usage: Usage | None = None) -> BaseModel:
        request_id = f"{self._format.id_prefix}-{self.job.request.request_id}"
        return kind(id=request_id, created=self._created, model=self._model, choices=choices, usage=usage)


async def respond(request: Request, builder: ResponseBuilder, *, engine: OpensExchanges, deadline_s: float) -> Response:
    """Run the request and send its response, as a stream if the client requested one."""
    if builder.is_streamed:
        return await _stream(request, builder, engine=engine, deadline_s=deadline_s)

    async def collect() -> None:
        async with engine.open(builder.job, deadline_s=deadline_s) as exchange:
            while (step := await _next_of(exchange, builder)) is not None:
                builder.add(step)

    await while_connected(request, collect())
    return Response(builder.json(builder.complete()), media_type=JSON_TYPE)


async def _stream(
    request: Request, builder: ResponseBuilder, *, engine: OpensExchanges, deadline_s: float
) -> StreamingResponse:
    """Wait for the first step, so that errors before it become HTTP statuses, then stream."""
    stack = AsyncExitStack()
    try:
        exchange = await stack.enter_async_context(engine.open(builder.job, deadline_s=deadline_s))
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
