"""Contents of prompts, fetched on threads of their own before a request reaches the engine.

A prompt may be on an object store, or behind a store that does not answer. The thread that steps the engine must not wait for
it, because all running requests wait with it. A fetch that fails or takes too long fails the requests that wait for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from service.errors import AtlasError, StoreUnavailable

_MAX_THREADS = 32
_RETRY_AFTER_S = 5.0

_log = structlog.get_logger(__name__)

Content = TypeVar("Content")
Cancel = Callable[[], None]
StartTimer = Callable[[float, Callable[[], None]], Cancel]
"""Calls a function after some seconds, on another thread; returns what prevents it."""

OnDone = Callable[[Mapping[str, Content] | AtlasError], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A content that a request needs. sha256: its content hash. ref: ``name@3`` of a version that has it, if known."""

    sha256: str
    ref: str | None = None


def start_timer(seconds: float, call: Callable[[], None]) -> Cancel:
    """A :data:`StartTimer` of the standard library, which does not keep the process alive."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer.cancel


@dataclass(eq=False)
class _Flight(Generic[Content]):
    """One fetch, shared by all requests that wait for it."""

    wanted: Wanted
    landed: Future[Content] = field(default_factory=Future)


class PromptFetches(Generic[Content]):
    """Fetches contents; requests that want the same content at the same time share one fetch.

    Threads are daemons, not those of an executor: a process that ends does not wait for a store that does not answer.

    Args:
        load: the content with a hash, wherever it is; may block, and may raise AtlasError.
        timeout_s: how long a request waits for its contents.
    """

    def __init__(
        self,
        load: Callable[[Wanted], Content],
        *,
        timeout_s: float,
        max_threads: int = _MAX_THREADS,
        timer: StartTimer = start_timer,
    ) -> None:
        self._load = load
        self._timeout_s = timeout_s
        self._max_threads = max_threads
        self._timer = timer
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight[Content]] = {}
        self._queue: deque[_Flight[Content]] = deque()
        self._n_threads = 0
        self.n_fetched = 0

    def fetch(self, wanted: Sequence[Wanted], *, on_done: OnDone[Content]) -> None:
        """Fetch contents; returns at once.

        Args:
            on_done: called once, on any thread, with the contents by hash, or with the first error.
        """
        flights = {one.sha256: self._flight(one) for one in wanted}
        request = _Request(flights, on_done=on_done)
        request.cancel_timer = self._timer(self._timeout_s, lambda: self._expire(request))
        for flight in flights.values():
            flight.landed.add_done_callback(request.on_landed)

    def _flight(self, wanted: Wanted) -> _Flight[Content]:
        with self._lock:
            flight = self._flights.get(wanted.sha256)
            if flight is not None:
                return flight
            flight = self._flights[wanted.sha256] = _Flight(wanted)
            self._queue.append(flight)
            if self._n_threads < self._max_threads:
                self._n_threads += 1
                threading.Thread(target=self._work, name="fetch", daemon=True).start()
            return flight

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._n_threads -= 1
                    return
                flight = self._queue.popleft()
            self._run(flight)

    def _run(self, flight: _Flight[Content]) -> None:
        error: AtlasError | None = None
        try:
            content = self._load(flight.wanted)
        except AtlasError as refused:
            error = refused
        except Exception:
            _log.exception("prompt could not be fetched")
            error = AtlasError("The engine failed on this request.")
        self._forget(flight)
        if error is None:
            self.n_fetched += 1
            flight.landed.set_result(content)
        else:
            flight.landed.set_exception(error)

    def _forget(self, flight: _Flight[Content]) -> None:
        """The next request for the content starts a new fetch."""
        with self._lock:
            if self._flights.get(flight.wanted.sha256) is flight:
                del self._flights[flight.wanted.sha256]

    def _expire(self, request: _Request[Content]) -> None:
        # The flight is at least as old as the request. Requests that joined it later keep waiting for it.
        for flight in request.unfinished():
            self._forget(flight)
        request.finish(
            StoreUnavailable(
                f"The store did not deliver the prompt within {self._timeout_s:g} seconds.",
                retry_after_s=_RETRY_AFTER_S,
            )
        )


class _Request(Generic[Content]):
    """The flights that one request waits for; done with the last one, or with the first that fails."""

    def __init__(self, flights: Mapping[str, _Flight[Content]], *, on_done: OnDone[Content]) -> None:
        self._flights = flights
        self._on_done = on_done
        self._lock = threading.Lock()
        self._is_done = False
        self.cancel_timer: Cancel = lambda: None

    def unfinished(self) -> list[_Flight[Content]]:
        """The flights that have not landed."""
        return [flight for flight in self._flights.values() if not flight.landed.done()]

    def on_landed(self, landed: Future[Content]) -> None:
        """Called when one of the flights has landed."""
        error = landed.exception()
        if error is None and self.unfinished():
            return
        errors = [error, *(flight.landed.exception() for flight in self._flights.values() if flight.landed.done())]
        first = next((one for one in errors if isinstance(one, AtlasError)), None)
        self.finish(first or {sha256: flight.landed.result() for sha256, flight in self._flights.items()})

    def finish(self, outcome: Mapping[str, Content] | AtlasError) -> None:
        """Report the outcome, unless another one was reported."""
        with self._lock:
            if self._is_done:
                return
            self._is_done = True
        self.cancel_timer()
        self._on_done(outcome)
