"""Orders to stop, from the worker to its work horse: signals, so that they are heard whatever the run is doing."""

from __future__ import annotations

import signal
from enum import Enum
from types import FrameType


class StopSignal(Enum):
    """Why a run must stop here. The value is the signal that says so."""

    CANCEL = signal.SIGUSR1
    SHUTDOWN = signal.SIGTERM


class StopSignals:
    """What this process was told so far."""

    def __init__(self) -> None:
        self.given: StopSignal | None = None

    def listen(self) -> None:
        """Take signals as orders from now on; main thread only. To cancel outweighs to shut down."""
        for order in StopSignal:
            signal.signal(order.value, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.given is not StopSignal.CANCEL:
            self.given = StopSignal(signal.Signals(number))
