"""Stop signals from a worker to its work horse. Being POSIX signals, they are received whatever the run is doing."""

from __future__ import annotations

import signal
from enum import Enum
from types import FrameType


class StopSignal(Enum):
    """Why a run must stop. The value is the signal that is sent."""

    CANCEL = signal.SIGUSR1
    SHUTDOWN = signal.SIGTERM


class StopSignals:
    """The stop signal that this process has received, if any."""

    def __init__(self) -> None:
        self.received: StopSignal | None = None

    def listen(self) -> None:
        """Install the signal handlers; main thread only. CANCEL takes precedence over SHUTDOWN."""
        for stop_signal in StopSignal:
            signal.signal(stop_signal.value, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not StopSignal.CANCEL:
            self.received = StopSignal(signal.Signals(number))
