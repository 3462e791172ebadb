"""Thread that repeats an action at a fixed interval."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import structlog

_log = structlog.get_logger(__name__)


class PeriodicThread:
    """Context manager that calls ``action`` at once and then every ``interval_s``, in a thread; exceptions are logged."""

    def __init__(self, action: Callable[[], None], *, interval_s: float, name: str) -> None:
        self._action = action
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> PeriodicThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._action()
            except Exception:
                _log.exception("periodic action failed, will be retried", action=self._thread.name)
            if self._stopped.wait(self._interval_s):
                return
