"""The API process's side of the engine: sends requests, hands out what happens to them, and never lets one hang.

A request ends for its caller when it is finished, fails, passes its deadline, or when the engine process is lost. When
the caller goes away first, the engine is told within the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import structlog

from service.engine.requests import Capture, Delta, Estimate, Failed, RowDone
from service.errors import Busy, DeadlineExceeded, Unavailable
from service.hosting.ipc.messages import (
    Ask,
    Cancel,
    EngineState,
    Estimated,
    Finished,
    FromApi,
    FromEngine,
    Reply,
    Submit,
)
from service.hosting.ipc.tensor_results import OpenResult, discard
from service.hosting.ipc.transport import ApiEnd

_log = structlog.get_logger(__name__)

_STARTING_RETRY_S = 5.0
_BUSY_RETRY_S = 1.0

EngineStatus = Literal["starting", "ok", "lost"]
Step = Delta | RowDone | OpenResult
"""What a caller sees of its request; a tensor result is the caller's to close."""


class End(Protocol):
    """What the hub needs of the connection to the engine."""

    @property
    def connected(self) -> bool: ...
    def send(self, message: FromApi) -> None: ...


class EngineClient:
    """Waits on the engine for any number of requests.

    Args:
        end: the connection to the engine.
        max_pending: requests that may wait at once before :class:`Busy`.
        clock: monotonic seconds.
    """

    def __init__(self, end: End, *, max_pending: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._end = end
        self._max_pending = max_pending
        self._clock = clock
        self._waiting: dict[str, Exchange] = {}
        self._draining = False
        self._state: EngineState | None = None
        self._ready = False

    @property
    def state(self) -> EngineState | None:
        """The last that the engine said of itself; stays when it is lost, None before the first engine was ready."""
        return self._state

    @property
    def status(self) -> EngineStatus:
        if self._ready:
            return "ok"
        return "starting" if self._state is None else "lost"

    @property
    def n_pending(self) -> int:
        """Requests that wait on the engine."""
        return len(self._waiting)

    @property
    def draining(self) -> bool:
        return self._draining

    def drain(self) -> None:
        """Take no new requests; those that wait go on."""
        self._draining = True

    def require_engine(self) -> EngineState:
        """The state of an engine that can be asked now.

        Raises:
            Unavailable: the service is stopping, or the engine is starting or lost.
        """
        if self._draining:
            raise Unavailable("The server is shutting down.", retry_after_s=_STARTING_RETRY_S)
        if not self._ready or self._state is None:
            was_there = self._state is not None
            detail = "The engine was lost and is being restarted." if was_there else "The engine is starting."
            raise Unavailable(detail, retry_after_s=_STARTING_RETRY_S)
        return self._state

    def last_state(self) -> EngineState:
        """What the engine last said, though it may be lost now; for questions that it need not answer itself.

        Raises:
            Unavailable: no engine has been ready yet.
        """
        return self.require_engine() if self._state is None else self._state

    @asynccontextmanager
    async def open(self, job: Submit, *, deadline_s: float) -> AsyncIterator[Exchange]:
        """Send a request and wait on it inside the block; leaving the block early cancels it.

        Args:
            deadline_s: on the hub's clock.

        Raises:
            Unavailable, Busy: at once. What the engine answers is raised by the exchange.
        """
        async with self._exchange(job.request.request_id, job, deadline_s=deadline_s) as exchange:
            yield exchange

    async def estimate(self, model: str, *, request: Capture, deadline_s: float) -> Estimate:
        """Ask the engine what a capture would cost."""
        question = Ask(model=model, request=request)
        async with self._exchange(request.request_id, question, deadline_s=deadline_s) as exchange:
            return await exchange.estimate()

    def deadline_in(self, seconds: float) -> float:
        """A deadline that many seconds from now."""
        return self._clock() + seconds

    # --- called by the connection ---

    def on_message(self, message: FromEngine) -> None:
        """Take a message of the engine."""
        if isinstance(message, EngineState):
            self._state, self._ready = message, True
        else:
            self._receive(message)

    def on_lost(self) -> None:
        """The engine process is gone: whoever waits on it is told now."""
        if self._ready and not self._draining:
            _log.warning("engine lost", n_waiting=len(self._waiting))
        self._ready = False
        for exchange in list(self._waiting.values()):
            exchange.put(_lost(exchange.request_id))

    def _receive(self, reply: Reply) -> None:
        exchange = self._waiting.get(reply.request_id)
        for happening in reply.happenings:
            if exchange is not None:
                exchange.put(happening)
            elif isinstance(happening, Finished) and happening.result is not None:
                discard(happening.result)

    @asynccontextmanager
    async def _exchange(self, request_id: str, message: FromApi, *, deadline_s: float) -> AsyncIterator[Exchange]:
        self.require_engine()
        if len(self._waiting) >= self._max_pending:
            raise Busy(
                f"{self._max_pending} requests are waiting already, which is this server's limit.",
                retry_after_s=_BUSY_RETRY_S,
            )
        exchange = Exchange(request_id, deadline_s=deadline_s, clock=self._clock)
        self._waiting[request_id] = exchange
        try:
            self._end.send(message)
            yield exchange
        finally:
            del self._waiting[request_id]
            exchange.discard()
            if not exchange.ended and self._end.connected:
                self._end.send(Cancel(request_id=request_id))


class Exchange:
    """One request on its way: iterate it for what happens."""

    def __init__(self, request_id: str, *, deadline_s: float, clock: Callable[[], float]) -> None:
        self.request_id = request_id
        self.ended = False
        self._deadline_s = deadline_s
        self._clock = clock
        self._happenings: asyncio.Queue[Delta | RowDone | Finished | Failed | Estimated] = asyncio.Queue()
        self._opened: OpenResult | None = None
        self._exhausted = False

    def put(self, happening: Delta | RowDone | Finished | Failed | Estimated) -> None:
        """Called by the hub: something happened."""
        if isinstance(happening, Finished | Failed | Estimated):
            self.ended = True
        if isinstance(happening, Finished) and happening.result is not None:
            try:
                self._opened = OpenResult(happening.result)
            except OSError:  # swept with the engine process that wrote it
                happening = _lost(self.request_id)
        self._happenings.put_nowait(happening)

    def discard(self) -> None:
        """Called by the hub: nobody takes the result any more."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __aiter__(self) -> Exchange:
        return self

    async def __anext__(self) -> Step:
        if self._exhausted:
            raise StopAsyncIteration
        happening = await self._next()
        if isinstance(happening, Failed):
            raise happening.error
        if isinstance(happening, Delta | RowDone):
            return happening
        self._exhausted = True
        opened, self._opened = self._opened, None
        if opened is None:
            raise StopAsyncIteration
        return opened

    async def result(self) -> OpenResult:
        """The tensor result; the caller closes it.

        Raises:
            AtlasError: what the engine answered instead, :class:`DeadlineExceeded`, or :class:`Unavailable`.
        """
        async for step in self:
            if isinstance(step, OpenResult):
                return step
        raise RuntimeError("the engine finished a capture without a result")

    async def estimate(self) -> Estimate:
        """The answer to :class:`Ask`."""
        happening = await self._next()
        if isinstance(happening, Failed):
            raise happening.error
        if not isinstance(happening, Estimated):
            raise RuntimeError("the engine answered a question with something else")
        return happening.estimate

    async def _next(self) -> Delta | RowDone | Finished | Failed | Estimated:
        left_s = self._deadline_s - self._clock()
        if left_s > 0 and not self._happenings.empty():
            return self._happenings.get_nowait()
        try:
            return await asyncio.wait_for(self._happenings.get(), max(left_s, 0))
        except (asyncio.TimeoutError, TimeoutError):
            raise DeadlineExceeded("The request was not finished by its deadline and has been cancelled.") from None


def _lost(request_id: str) -> Failed:
    return Failed(request_id=request_id, error=Unavailable("The engine was lost.", retry_after_s=_STARTING_RETRY_S))


async def run_engine_client(hub: EngineClient, end: ApiEnd) -> None:
    """Keep a hub connected until cancelled."""

    def deliver(message: FromEngine) -> None:
        try:
            hub.on_message(message)
        except Exception:
            # The connection must go on for all the others.
            _log.exception("message of the engine could not be taken")

    await end.run(on_message=deliver, on_lost=hub.on_lost)
