"""LitServe's loop, synchronous: each turn admits what has come, steps the batch once and sends what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litserve.loops import LitLoop

if TYPE_CHECKING:
    from service.hosting.engine_process.engine_loop import EngineLoop
    from service.hosting.engine_process.lit_api import EngineLitAPI


class EngineLitLoop(LitLoop):  # type: ignore[misc]
    """Called for ever by LitServe's worker. An exception out of it ends the process, and another one is started."""

    def __init__(self) -> None:
        super().__init__()
        self._driver: EngineLoop | None = None

    def run(self, lit_api: EngineLitAPI, *_: Any) -> None:  # LitServe passes its queue and transport; we use our socket
        if self._driver is None:
            self._driver = lit_api.open_driver()
        self._driver.turn()
