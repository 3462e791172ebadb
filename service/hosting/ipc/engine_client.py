"""Client of the engine in the API process: sends requests and yields their updates; no request waits forever.

A request ends for its caller when it finishes, fails, passes its deadline, or when the engine process is lost. When the
caller leaves first, the client sends a cancel in the same iteration of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import structlog

from service.engine.requests import Capture, Delta, Detokenize, Estimate, Failed, RowDone, Tokenize
from service.errors import Busy, DeadlineExceeded, EngineUnavailable
from service.hosting.ipc.messages import (
    CallTokenizer,
    Cancel,
    CompareStates,
    EngineState,
    EstimateCost,
    Estimated,
    ExportPrompt,
    Finished,
    FromApi,
    FromEngine,
    Reply,
    Submit,
    Tokenized,
    Update,
)
from service.hosting.ipc.tensor_results import OpenResult, discard
from service.hosting.ipc.usage import UsageTally

_log = structlog.get_logger(__name__)

_STARTING_RETRY_S = 5.0
_BUSY_RETRY_S = 1.0

EngineStatus = Literal["starting", "ok", "lost"]
Step = Delta | RowDone | OpenResult
"""What an exchange yields; the caller closes a tensor result."""


class Endpoint(Protocol):
    """The part of the connection to the engine that the client uses."""

    @property
    def connected(self) -> bool: ...
    def send(self, message: FromApi) -> None: ...


class EngineClient:
    """Sends any number of concurrent requests to the engine.

    Args:
        endpoint: the connection to the engine.
        max_pending: maximum number of pending requests; one more raises :class:`Busy`.
        clock: monotonic seconds.

    Attributes:
        observer: called with each request that is to run, and with its usage; returns what is sent.
    """

    def __init__(self, endpoint: Endpoint, *, max_pending: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoint = endpoint
        self._max_pending = max_pending
        self._clock = clock
        self._pending: dict[str, Exchange] = {}
        self._draining = False
        self._state: EngineState | None = None
        self._ready = False
        self.observer: Callable[[Submit, UsageTally], Submit] = lambda job, _usage: job

    @property
    def state(self) -> EngineState | None:
        """The last state that the engine sent, kept when the engine is lost; None before the first engine is ready."""
        return self._state

    @property
    def status(self) -> EngineStatus:
        """ "starting" before the first engine is ready, "ok" while one is connected, "lost" otherwise."""
        if self._ready:
            return "ok"
        return "starting" if self._state is None else "lost"

    @property
    def n_pending(self) -> int:
        """Number of requests that have not ended."""
        return len(self._pending)

    @property
    def draining(self) -> bool:
        """Whether the service stops; requests are still accepted."""
        return self._draining

    def drain(self) -> None:
        """The service stops."""
        self._draining = True

    def require_engine(self) -> EngineState:
        """The state of the connected engine.

        Raises:
            EngineUnavailable: the engine is starting or lost.
        """
        if not self._ready or self._state is None:
            was_ready = self._state is not None
            detail = "The engine was lost and is being restarted." if was_ready else "The engine is starting."
            raise EngineUnavailable(detail, retry_after_s=_STARTING_RETRY_S)
        return self._state

    def last_state(self) -> EngineState:
        """The last state that the engine sent, even if the engine is lost now.

        Raises:
            EngineUnavailable: no engine has been ready yet.
        """
        return self.require_engine() if self._state is None else self._state

    @asynccontextmanager
    async def open(self, job: Submit | ExportPrompt | CompareStates, *, deadline_s: float) -> AsyncIterator[Exchange]:
        """Send a request; the block iterates its exchange. Leaving the block early cancels the request.

        Args:
            deadline_s: on the client's clock.

        Raises:
            EngineUnavailable: the engine is starting or lost.
            Busy: too many requests are pending.
        """
        usage = None
        if isinstance(job, Submit):
            usage = UsageTally(job)
            job = self.observer(job, usage)
        async with self._exchange(job.request.request_id, job, deadline_s=deadline_s) as exchange:
            exchange.usage = usage
            yield exchange

    async def estimate(self, model: str, *, request: Capture, deadline_s: float) -> Estimate:
        """The cost of a capture, estimated by the engine."""
        question = EstimateCost(model=model, request=request)
        async with self._exchange(request.request_id, question, deadline_s=deadline_s) as exchange:
            return await exchange.estimate()

    async def call_tokenizer(self, model: str, *, request: Tokenize | Detokenize, deadline_s: float) -> Tokenized:
        """Convert texts to tokens, or tokens to a text, with the tokenizer of a model."""
        question = CallTokenizer(model=model, request=request)
        async with self._exchange(request.request_id, question, deadline_s=deadline_s) as exchange:
            return await exchange.tokenized()

    def deadline_in(self, seconds: float) -> float:
        """The deadline ``seconds`` from now, on the client's clock."""
        return self._clock() + seconds

    # --- called by the connection ---

    def on_message(self, message: FromEngine) -> None:
        """Handle a message from the engine."""
        if isinstance(message, EngineState):
            self._state, self._ready = message, True
        else:
            self._receive(message)

    def on_lost(self) -> None:
        """The engine process is lost: fail all pending requests."""
        if self._ready and not self._draining:
            _log.warning("engine lost", n_pending=len(self._pending))
        self._ready = False
        for exchange in list(self._pending.values()):
            exchange.put(_lost(exchange.request_id))

    def _receive(self, reply: Reply) -> None:
        exchange = self._pending.get(reply.request_id)
        if exchange is not None and exchange.usage is not None:
            exchange.usage.add(reply)
        for update in reply.updates:
            if exchange is not None:
                exchange.put(update)
            elif isinstance(update, Finished) and update.result is not None:
                discard(update.result)

    @asynccontextmanager
    async def _exchange(self, request_id: str, message: FromApi, *, deadline_s: float) -> AsyncIterator[Exchange]:
        self.require_engine()
        if len(self._pending) >= self._max_pending:
            raise Busy(
                f"{self._max_pending} requests are pending, which is this server's limit.",
                retry_after_s=_BUSY_RETRY_S,
            )
        exchange = Exchange(request_id, deadline_s=deadline_s, clock=self._clock)
        self._pending[request_id] = exchange
        try:
            self._endpoint.send(message)
            yield exchange
        finally:
            del self._pending[request_id]
            exchange.discard()
            if not exchange.ended and self._endpoint.connected:
                self._endpoint.send(Cancel(request_id=request_id))


class Exchange:
    """One request: an asynchronous iterator of its updates.

    ended: the engine has sent its last update. failed: that update is an error.
    """

    def __init__(self, request_id: str, *, deadline_s: float, clock: Callable[[], float]) -> None:
        self.request_id = request_id
        self.ended = False
        self.failed = False
        self.usage: UsageTally | None = None  # only of requests that run
        self._deadline_s = deadline_s
        self._clock = clock
        self._updates: asyncio.Queue[Update] = asyncio.Queue()
        self._opened: OpenResult | None = None
        self._exhausted = False

    def put(self, update: Update) -> None:
        """Add an update; called by the client."""
        if isinstance(update, Finished | Failed | Estimated | Tokenized):
            self.ended, self.failed = True, isinstance(update, Failed)
        if isinstance(update, Finished) and update.result is not None:
            try:
                self._opened = OpenResult(update.result)
            except OSError:  # removed with the folder of the dead engine process
                update = _lost(self.request_id)
        self._updates.put_nowait(update)

    def discard(self) -> None:
        """Close a result that the caller has not taken; called by the client."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __aiter__(self) -> Exchange:
        return self

    async def __anext__(self) -> Step:
        if self._exhausted:
            raise StopAsyncIteration
        update = await self._next()
        if isinstance(update, Failed):
            raise update.error
        if isinstance(update, Delta | RowDone):
            return update
        self._exhausted = True
        opened, self._opened = self._opened, None
        if opened is None:
            raise StopAsyncIteration
        return opened

    async def result(self) -> OpenResult:
        """Wait for the tensor result; the caller closes it.

        Raises:
            AtlasError: the request failed, its deadline passed, or the engine was lost.
        """
        async for step in self:
            if isinstance(step, OpenResult):
                return step
        raise RuntimeError("the engine finished a capture without a result")

    async def estimate(self) -> Estimate:
        """Wait for the answer to :class:`EstimateCost`."""
        update = await self._next()
        if isinstance(update, Failed):
            raise update.error
        if not isinstance(update, Estimated):
            raise RuntimeError(f"expected an estimate from the engine, received {type(update).__name__}")
        return update.estimate

    async def tokenized(self) -> Tokenized:
        """Wait for the answer to :class:`CallTokenizer`."""
        update = await self._next()
        if isinstance(update, Failed):
            raise update.error
        if not isinstance(update, Tokenized):
            raise RuntimeError(f"expected tokens from the engine, received {type(update).__name__}")
        return update

    async def _next(self) -> Update:
        left_s = self._deadline_s - self._clock()
        if left_s > 0 and not self._updates.empty():
            return self._updates.get_nowait()
        try:
            return await asyncio.wait_for(self._updates.get(), max(left_s, 0))
        except (asyncio.TimeoutError, TimeoutError):
            raise DeadlineExceeded("The request did not finish before its deadline and was cancelled.") from None


def _lost(request_id: str) -> Failed:
    return Failed(
        request_id=request_id, error=EngineUnavailable("The engine was lost.", retry_after_s=_STARTING_RETRY_S)
    )
