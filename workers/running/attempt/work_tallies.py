"""Tallies of one process that executes a run or helps with one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from service.errors import Unavailable
from service.queueing.tallies import Tallies, TallyBuffer


class WorkTallies:
    """Buffers additions, so that the work never waits for Redis.

    Args:
        kind: of the run.
        open_tallies: connects to Redis; called once, with the first flush.
    """

    def __init__(self, kind: str, *, open_tallies: Callable[[], Tallies]) -> None:
        self._kind = kind
        self._open = open_tallies
        self._tallies: Tallies | None = None
        self._buffer = TallyBuffer()

    def count(self, name: str, amount: float) -> None:
        """Add to a counter without labels."""
        self._buffer.count(name, amount)

    def saved_checkpoint(self, seconds: float) -> None:
        """Add the duration of one checkpoint."""
        self._buffer.observe("checkpoint_seconds", seconds, labels=(self._kind,))

    def flush(self) -> None:
        """Write the buffer to Redis. While Redis is unavailable, it is kept for the next flush."""
        with suppress(Unavailable):
            self._tallies = self._tallies or self._open()
            self._tallies.write(self._buffer)
