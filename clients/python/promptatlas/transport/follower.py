"""State of an event stream that is reopened after it breaks. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable

from promptatlas.errors import BrokenStreamError, ConnectionFailedError, PromptAtlasError
from promptatlas.transport.call import Call, Following
from promptatlas.transport.retry import worth_retrying
from promptatlas.transport.wire import Wire
from promptatlas.types import RunEvent

# The server sends at least a comment every few seconds, so a connection that is silent for longer is dead.
QUIET_S = 45.0
# Long enough for a server to be replaced and to load its models.
PATIENCE_S = 600.0
LAST_EVENT = "done"

Open = Callable[[int, Following], Call[RunEvent]]
"""The call for the events after the one with this id."""


class DeadlinePassed(Exception):
    """The deadline has passed. The run itself continues."""


class Deadline:
    """A point in time. timeout_s: seconds from now; None: never."""

    def __init__(self, timeout_s: float | None, *, clock: Callable[[], float]) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s: expected more than 0, got {timeout_s}")
        self._clock = clock
        self._end_s = float("inf") if timeout_s is None else clock() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left. Raises DeadlinePassed if there are none."""
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise DeadlinePassed
        return left_s

    def check(self) -> None:
        """Raises DeadlinePassed once the deadline has passed."""
        self.remaining_s()


class Follower:
    """The events received so far, and what to do when the stream ends.

    The end of a stream is the end of the run only if the run's status says so too: a run that failed and was resumed has a
    ``done`` event in the middle, and a server that shuts down ends streams without one.

    Args:
        open_after: describes the request.
        after: id of the last event that is known already; 0 for none.
        ended: whether the run had ended when its status was last read.
    """

    def __init__(
        self, wire: Wire, *, open_after: Open, deadline: Deadline, after: int = 0, ended: bool = False
    ) -> None:
        self._wire = wire
        self._open_after = open_after
        self._deadline = deadline
        self._known_ended = ended
        self._n_events = 0
        self._saw_end = False
        self._n_failed = 0
        self._waited_s = 0.0
        self.last_id = after
        self.delay_s = 0.0
        self.in_doubt = False

    def call(self) -> Call[RunEvent]:
        """The request for the next events. Raises DeadlinePassed."""
        quiet_s = min(QUIET_S, self._deadline.remaining_s())
        following = Following(last_event=LAST_EVENT, quiet_s=quiet_s, on_bytes=self._deadline.check)
        return self._open_after(self.last_id, following)

    def opened(self) -> None:
        """Records that the server has responded."""
        self._n_failed, self._waited_s, self._n_events = 0, 0.0, 0
        self._saw_end = self.in_doubt = False

    def fresh(self, event: RunEvent) -> bool:
        """Records an event. False if it was received before."""
        if event.id <= self.last_id:
            return False
        self.last_id = event.id
        self._n_events += 1
        self._saw_end = event.type == LAST_EVENT
        return True

    def closed(self, error: PromptAtlasError | None) -> None:
        """Records the end of the stream; ``error`` is None for a regular end.

        Raises ``error`` if reopening cannot help or has failed for too long. Raises DeadlinePassed.
        """
        if error is None or isinstance(error, BrokenStreamError):
            self.in_doubt = True
        elif not isinstance(error, ConnectionFailedError) and not worth_retrying(error):
            raise error
        self.delay_s = 0.0
        if error is None:
            return
        self._n_failed += 1
        # After a dozen doublings the delay has reached its maximum; a larger exponent would overflow.
        n_failed = min(self._n_failed, 12)
        delay_s = self._wire.policy.backoff_s(n_failed=n_failed, jitter=self._wire.random())
        if self._waited_s + delay_s > PATIENCE_S:
            raise error
        self._waited_s += delay_s
        self.delay_s = min(delay_s, self._deadline.remaining_s())

    def over(self, *, ended: bool) -> bool:
        """Whether no more events can come. ended: whether the run has ended, by its status read just now."""
        if ended and (self._saw_end or (self._known_ended and self._n_events == 0)):
            return True
        self._known_ended = ended
        self.in_doubt = False
        return False
