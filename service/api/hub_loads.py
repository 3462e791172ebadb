"""Loads of datasets from the Hugging Face hub, in a few threads that no other store call uses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import Busy, Unavailable
from service.planning.specs import Loc
from service.store.datasets.hub import is_hub_name
from service.store.datasets.store import DatasetStore

_RETRY_AFTER_S = 30.0


class HubLoads:
    """Loads each dataset once, ``max_running`` at a time, in daemon threads: a hub that never answers delays no shutdown.

    Args:
        store: a store that loads datasets of the hub when they are read.
        max_running: loads that run at the same time.
        max_waiting: loads that wait for them; further ones are refused.
        patience_s: how long a request waits for its load, which continues after that.
    """

    def __init__(
        self, store: DatasetStore, *, max_running: int = 2, max_waiting: int = 2, patience_s: float = 60.0
    ) -> None:
        self._store = store
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._patience_s = patience_s
        self._running: dict[str, asyncio.Future[None]] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def ensure(self, name: str) -> None:
        """Load a dataset if it is one of the hub that is not stored.

        Raises:
            InvalidRequest, NotFound, TooLarge, Unavailable: it cannot be loaded.
            Busy: too many loads wait already.
            Unavailable: the load takes longer than a request waits.
        """
        if not is_hub_name(name) or await asyncio.to_thread(self._store.is_stored, name):
            return
        load = self._running.get(name) or self._waiting.get(name) or self._start(name)
        done, _ = await asyncio.wait({load}, timeout=self._patience_s)
        if not done:
            raise Unavailable(
                f"Dataset {name!r} is still being loaded from the hub. Retry later.", retry_after_s=_RETRY_AFTER_S
            )
        load.result()

    def _start(self, name: str) -> asyncio.Future[None]:
        if len(self._waiting) >= self._max_waiting and len(self._running) >= self._max_running:
            raise Busy(
                f"{self._max_running} datasets are being loaded from the hub, and {self._max_waiting} wait. Retry later.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._waiting[name] = asyncio.get_running_loop().create_future()
        load = self._waiting[name]
        self._run_next()
        return load

    def _run_next(self) -> None:
        while self._waiting and len(self._running) < self._max_running:
            name = next(iter(self._waiting))
            load = self._running[name] = self._waiting.pop(name)
            arguments = (name, load, asyncio.get_running_loop())
            threading.Thread(target=self._load, args=arguments, name="hub-load", daemon=True).start()

    def _load(self, name: str, load: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
        error: Exception | None = None
        try:
            self._store.get(name)
        except Exception as fault:
            error = fault
        try:
            loop.call_soon_threadsafe(self._finish, name, load, error)
        except RuntimeError:  # the loop is closed: the server stops, and nobody waits
            return

    def _finish(self, name: str, load: asyncio.Future[None], error: Exception | None) -> None:
        del self._running[name]
        if error is None:
            load.set_result(None)
        else:
            load.set_exception(error)
            load.exception()  # marks it as retrieved, since all requests may have left
        self._run_next()


def datasets_in(spec: Mapping[str, Any]) -> Mapping[str, Loc]:
    """The hub's datasets under ``dataset`` and ``datasets`` of a run's spec, each with its first location."""
    found: dict[str, Loc] = {}
    for name, loc in _named(spec, loc=()):
        if is_hub_name(name):
            found.setdefault(name, loc)
    return found


def _named(value: Any, *, loc: Loc) -> Iterator[tuple[str, Loc]]:
    if isinstance(value, str) and any(key in ("dataset", "datasets") for key in loc[-2:]):
        yield value, loc
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named(inner, loc=(*loc, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _named(inner, loc=(*loc, i))
