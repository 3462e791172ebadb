"""Middleware: 408 for a request body that arrives too slowly, so that its connection and memory are not held for hours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RequestTooSlow


class BodyPace:
    """Requires a minimum rate of a body while the application waits for it, and a total time for some content types.

    Only time in which the application waits is counted: a pause of the server, for example for its disk, costs the client
    nothing.

    Args:
        window_s: time over which the rate is measured; the first bytes must arrive within it.
        min_bytes_per_s: the rate.
        total_s_of: seconds for a whole body of a content type; None for no limit.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        window_s: float,
        min_bytes_per_s: int,
        total_s_of: Callable[[str], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._window_s = window_s
        self._min_bytes_per_s = min_bytes_per_s
        self._total_s_of = total_s_of
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        content_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        total_s = self._total_s_of(content_type)
        reader = _PacedReader(
            receive,
            window_s=self._window_s,
            min_bytes=self._min_bytes_per_s * self._window_s,
            total_s=float("inf") if total_s is None else total_s,
            clock=self._clock,
        )
        await self._app(scope, reader.receive, send)


class _PacedReader:
    def __init__(
        self, receive: Receive, *, window_s: float, min_bytes: float, total_s: float, clock: Callable[[], float]
    ) -> None:
        self._receive = receive
        self._window_s = window_s
        self._min_bytes = min_bytes
        self._total_s = total_s
        self._clock = clock
        self._waited_s = 0.0
        self._in_window_s = 0.0
        self._n_in_window = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """The next message. Raises :class:`RequestTooSlow` if the client does not keep the rate."""
        if self._is_complete:  # waits until the client disconnects, for any time
            return await self._receive()
        message: Message | None = None
        while message is None:
            message = await self._receive_in_time()
            self._is_complete = message is not None and not message.get("more_body", False)
            if not self._is_complete:
                self._require_pace()
        return message

    async def _receive_in_time(self) -> Message | None:
        """The next message; None if the window or the total time ends first."""
        began_s = self._clock()
        message: Message | None = None
        try:
            async with asyncio.timeout(min(self._window_s - self._in_window_s, self._total_s - self._waited_s)):
                message = await self._receive()
        except TimeoutError:
            pass
        seconds = self._clock() - began_s
        self._waited_s += seconds
        self._in_window_s += seconds
        self._n_in_window += 0 if message is None else len(message.get("body", b""))
        return message

    def _require_pace(self) -> None:
        if self._waited_s >= self._total_s:
            raise RequestTooSlow(
                f"Expected the whole body within {self._total_s:g} s, it was incomplete after that time."
            )
        if self._in_window_s < self._window_s:
            return
        if self._n_in_window < self._min_bytes:
            raise RequestTooSlow(
                f"Expected at least {self._min_bytes:,.0f} bytes of the body in {self._window_s:g} s, got "
                f"{self._n_in_window:,}."
            )
        self._in_window_s, self._n_in_window = 0.0, 0
