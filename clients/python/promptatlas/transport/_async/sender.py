"""Sender of calls over httpx, with retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from promptatlas.errors import PromptAtlasError
from promptatlas.transport._async.stream import AsyncStream
from promptatlas.transport.call import Call
from promptatlas.transport.files import CHUNK_BYTES, Received, sink
from promptatlas.transport.httpx_errors import translated
from promptatlas.transport.wire import Wire, size_of

T = TypeVar("T")
R = TypeVar("R")


class AsyncSender:
    """Sends calls. Each verb raises PromptAtlasError when all attempts of a call have failed.

    Args:
        http: the httpx client.
        wire: conversion of calls to requests and of responses to values.
        sleep: waits for a number of seconds.
    """

    def __init__(self, http: httpx.AsyncClient, *, wire: Wire, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._http = http
        self._wire = wire
        self._sleep = sleep

    @property
    def wire(self) -> Wire:
        """Conversion of calls to requests and of responses to values."""
        return self._wire

    async def pause(self, delay_s: float) -> None:
        """Waits."""
        await self._sleep(delay_s)

    async def send(self, call: Call[T]) -> T:
        """The value of the response."""

        async def use(response: httpx.Response) -> T:
            await response.aread()
            return self._wire.parsed(call, response)

        return await self._attempt(call, use)

    async def events(self, call: Call[T]) -> AsyncStream[T]:
        """The values of a streamed response. Raises here if the server refuses, before the first value."""

        async def use(response: httpx.Response) -> AsyncStream[T]:
            return AsyncStream(response, call=call)

        return await self._attempt(call, use)

    async def fetch(self, call: Call[None], to: Path | None) -> Received:
        """Saves the response body to a file, which exists only once it is complete. None: a temporary file."""

        async def use(response: httpx.Response) -> Received:
            with sink(to) as (file, path), self._wire.bar(size_of(response)) as show:
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    file.write(chunk)
                    show(response.num_bytes_downloaded)
            await response.aclose()
            return self._wire.received(response, path, temporary=to is None)

        return await self._attempt(call, use)

    async def close(self) -> None:
        """Closes the connections."""
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
