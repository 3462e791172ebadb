"""Sends calls, blocking or not. What both have in common is in Wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from promptatlas.calls.call import Body, Call
from promptatlas.errors import ProblemError, PromptAtlasError, UnexpectedAnswerError, problem_error
from promptatlas.transport.events import AsyncStream, Stream
from promptatlas.transport.files import CHUNK_BYTES, FileStream, ProgressBar, Received, sink
from promptatlas.transport.httpx_errors import request_id_of, translated
from promptatlas.transport.retry import Attempts, RetryPolicy
from promptatlas.types import ResponseBody

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_S = 10.0
# The server's own 504 says more than our giving up does: let it arrive first.
_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Wire:
    """How calls become httpx requests, and answers become values or errors.

    live: whether the progress of runs is shown where a call does not say.
    """

    policy: RetryPolicy
    timeout_s: float
    random: Callable[[], float]
    clock: Callable[[], float]
    bar: ProgressBar
    live: bool = False

    def attempts(self, call: Call[Any]) -> Attempts:
        policy = self.policy if call.retries else RetryPolicy(n_retries=0)
        timeout_s = self.timeout_s if call.timeout_s is None else call.timeout_s
        if not timeout_s > 0:
            raise ValueError(f"timeout_s: expected more than 0, got {timeout_s}")
        return Attempts(policy, timeout_s=timeout_s, random=self.random, clock=self.clock)

    def request(self, call: Call[Any], *, timeout_s: float) -> dict[str, Any]:
        headers = {"Accept": call.accept, **call.headers}
        if call.following is None:
            headers["X-Request-Timeout"] = f"{timeout_s:.6g}"
        if call.accept != "application/json":
            # Compressing floats costs time and saves nothing; compressing events delays them.
            headers["Accept-Encoding"] = "identity"
        wait_s = timeout_s + _GRACE_S if call.following is None else call.following.quiet_s
        timeout = httpx.Timeout(wait_s, connect=min(_CONNECT_S, timeout_s))
        request = {"method": call.method, "url": call.path, "params": call.params, "timeout": timeout}
        return {**request, **_body(call.body, headers)}

    @contextmanager
    def sending(self, request: httpx.Request, call: Call[Any]) -> Iterator[None]:
        """The time in which the request's body is sent: a file is read, and a bar shows how far."""
        upload = None if call.body is None else call.body.upload
        if upload is None:
            yield
            return
        with self.bar(upload.n_bytes, label="sending") as show:
            request.stream = FileStream(upload, show=show)
            yield

    def parsed(self, call: Call[T], response: httpx.Response) -> T:
        try:
            value = call.parse(response.content)
        except UnexpectedAnswerError:
            if response.is_success:
                raise
            raise self.problem(response) from None
        if isinstance(value, ResponseBody):
            value._request_id = request_id_of(response)
        return value

    def refused(self, call: Call[Any], response: httpx.Response) -> bool:
        return not response.is_success and response.status_code not in call.accepted_errors

    def problem(self, response: httpx.Response) -> ProblemError:
        return problem_error(response.status_code, response.headers, response.content)

    def received(self, response: httpx.Response, path: Path, *, temporary: bool) -> Received:
        return Received(path=path, temporary=temporary, request_id=request_id_of(response))


def _body(body: Body | None, headers: dict[str, str]) -> dict[str, Any]:
    if body is None:
        return {"headers": headers}
    if body.upload is not None:
        size = str(body.upload.n_bytes)
        # An iterator in place of the file, which is opened when it is sent: httpx takes it for a body to come.
        typed = {**headers, "Content-Type": body.content_type, "Content-Length": size}
        return {"headers": typed, "content": iter(())}
    if body.parts is None:
        return {"headers": {**headers, "Content-Type": body.content_type}, "content": body.content}
    # Only `tensors` has a file name: the part `request` is a plain form field.
    files = {
        name: (None if kind == "application/json" else f"{name}.safetensors", content, kind)
        for name, (content, kind) in body.parts.items()
    }
    return {"headers": headers, "files": files}


def _size(response: httpx.Response) -> int | None:
    value = response.headers.get("content-length", "")
    return int(value) if value.isdigit() else None


class Sender:
    """Sends calls and waits for them."""

    def __init__(self, http: httpx.Client, *, wire: Wire, sleep: Callable[[float], object]) -> None:
        self._http = http
        self._wire = wire
        self._sleep = sleep

    @property
    def wire(self) -> Wire:
        """How it sends."""
        return self._wire

    def pause(self, delay_s: float) -> None:
        """Waits."""
        self._sleep(delay_s)

    def send(self, call: Call[T]) -> T:
        """The answer's value. Raises PromptAtlasError."""

        def use(response: httpx.Response) -> T:
            response.read()
            return self._wire.parsed(call, response)

        return self._attempt(call, use)

    def events(self, call: Call[T]) -> Stream[T]:
        """The values of a streamed answer; an error before the first is raised here."""
        return self._attempt(call, lambda response: Stream(response, call=call))

    def fetch(self, call: Call[None], to: Path | None) -> Received:
        """The answer in a file, which has it whole or is not there."""

        def use(response: httpx.Response) -> Received:
            with sink(to) as (file, path), self._wire.bar(_size(response)) as show:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
                    show(response.num_bytes_downloaded)
            response.close()
            return self._wire.received(response, path, temporary=to is None)

        return self._attempt(call, use)

    def close(self) -> None:
        self._http.close()

    def _attempt(self, call: Call[Any], use: Callable[[httpx.Response], R]) -> R:
        attempts = self._wire.attempts(call)
        while True:
            try:
                with translated():
                    return self._once(call, use, timeout_s=attempts.remaining_s)
            except PromptAtlasError as error:
                delay_s = attempts.delay_s(error)
            self._sleep(delay_s)

    def _once(self, call: Call[Any], use: Callable[[httpx.Response], R], *, timeout_s: float) -> R:
        request = self._http.build_request(**self._wire.request(call, timeout_s=timeout_s))
        with self._wire.sending(request, call):
            response = self._http.send(request, stream=True)
        try:
            if self._wire.refused(call, response):
                response.read()
                raise self._wire.problem(response)
            return use(response)
        except BaseException:
            response.close()
            raise


class AsyncSender:
    """Sends calls without blocking; see Sender."""

    def __init__(self, http: httpx.AsyncClient, *, wire: Wire, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._http = http
        self._wire = wire
        self._sleep = sleep

    @property
    def wire(self) -> Wire:
        return self._wire

    async def pause(self, delay_s: float) -> None:
        await self._sleep(delay_s)

    async def send(self, call: Call[T]) -> T:
        async def use(response: httpx.Response) -> T:
            await response.aread()
            return self._wire.parsed(call, response)

        return await self._attempt(call, use)

    async def events(self, call: Call[T]) -> AsyncStream[T]:
        async def use(response: httpx.Response) -> AsyncStream[T]:
            return AsyncStream(response, call=call)

        return await self._attempt(call, use)

    async def fetch(self, call: Call[None], to: Path | None) -> Received:
        async def use(response: httpx.Response) -> Received:
            with sink(to) as (file, path), self._wire.bar(_size(response)) as show:
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    file.write(chunk)
                    show(response.num_bytes_downloaded)
            await response.aclose()
            return self._wire.received(response, path, temporary=to is None)

        return await self._attempt(call, use)

    async def close(self) -> None:
        await self._http.aclose()

    async def _attempt(self, call: Call[Any], use: Callable[[httpx.Response], Awaitable[R]]) -> R:
        attempts = self._wire.attempts(call)
        while True:
            try:
                with translated():
                    return await self._once(call, use, timeout_s=attempts.remaining_s)
            except PromptAtlasError as error:
                delay_s = attempts.delay_s(error)
            await self._sleep(delay_s)

    async def _once(self, call: Call[Any], use: Callable[[httpx.Response], Awaitable[R]], *, timeout_s: float) -> R:
        request = self._http.build_request(**self._wire.request(call, timeout_s=timeout_s))
        with self._wire.sending(request, call):
            response = await self._http.send(request, stream=True)
        try:
            if self._wire.refused(call, response):
                await response.aread()
                raise self._wire.problem(response)
            return await use(response)
        except BaseException:
            await response.aclose()
            raise
