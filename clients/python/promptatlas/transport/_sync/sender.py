# Generated from promptatlas.transport._async.sender by generate_sync.py: edit that module, then run `make generate`.
"""Sender of calls over httpx, with retries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from promptatlas.errors import PromptAtlasError
from promptatlas.transport._async.sender import R, T
from promptatlas.transport._sync.stream import Stream
from promptatlas.transport.call import Call
from promptatlas.transport.files import CHUNK_BYTES, Received, sink
from promptatlas.transport.httpx_errors import translated
from promptatlas.transport.wire import Wire, size_of


class Sender:
    """Sends calls. Each verb raises PromptAtlasError when all attempts of a call have failed.

    Args:
        http: the httpx client.
        wire: conversion of calls to requests and of responses to values.
        sleep: waits for a number of seconds.
    """

    def __init__(self, http: httpx.Client, *, wire: Wire, sleep: Callable[[float], object]) -> None:
        self._http = http
        self._wire = wire
        self._sleep = sleep

    @property
    def wire(self) -> Wire:
        """Conversion of calls to requests and of responses to values."""
        return self._wire

    def pause(self, delay_s: float) -> None:
        """Waits."""
        self._sleep(delay_s)

    def send(self, call: Call[T]) -> T:
        """The value of the response."""

        def use(response: httpx.Response) -> T:
            response.read()
            return self._wire.parsed(call, response)

        return self._attempt(call, use)

    def events(self, call: Call[T]) -> Stream[T]:
        """The values of a streamed response. Raises here if the server refuses, before the first value."""

        def use(response: httpx.Response) -> Stream[T]:
            return Stream(response, call=call)

        return self._attempt(call, use)

    def fetch(self, call: Call[None], to: Path | None) -> Received:
        """Saves the response body to a file, which exists only once it is complete. None: a temporary file."""

        def use(response: httpx.Response) -> Received:
            with sink(to) as (file, path), self._wire.bar(size_of(response)) as show:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
                    show(response.num_bytes_downloaded)
            response.close()
            return self._wire.received(response, path, temporary=to is None)

        return self._attempt(call, use)

    def close(self) -> None:
        """Closes the connections."""
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
