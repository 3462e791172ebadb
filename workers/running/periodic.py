"""A thread that does one small thing again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import structlog

_log = structlog.get_logger(__name__)


class PeriodicThread:
    """Calls ``action`` at once and then every ``interval_s``, from ``with`` to its end; what it raises is logged."""

    def __init__(self, action: Callable[[], None], *, interval_s: float, name: str) -> None:
        self._action = action
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> PeriodicThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._action()
            except Exception:
                _log.exception("could not be done, will be tried again", what=self._thread.name)
            if self._ended.wait(self._interval_s):
                return
