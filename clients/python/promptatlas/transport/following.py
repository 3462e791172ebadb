"""Event streams that are gone on with after they break: from the last event that came, without gaps or repeats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from promptatlas.calls.call import Call, Following
from promptatlas.errors import BrokenStreamError, ConnectionFailedError, PromptAtlasError
from promptatlas.transport.retry import worth_retrying
from promptatlas.transport.sender import AsyncSender, Sender, Wire
from promptatlas.types import RunEvent

# A server says something every few seconds; a connection silent for so long is dead, though nobody closed it.
QUIET_S = 45.0
# Long enough for a server to be replaced and to load its models.
PATIENCE_S = 600.0
LAST_EVENT = "done"

Open = Callable[[int, Following], Call[RunEvent]]
"""The call for the events behind the one of this id."""


class DeadlinePassed(Exception):
    """The time for following is over; the run itself goes on."""


class Deadline:
    """A time on a clock; without seconds, never."""

    def __init__(self, timeout_s: float | None, *, clock: Callable[[], float]) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s: expected more than 0, got {timeout_s}")
        self._clock = clock
        self._end_s = float("inf") if timeout_s is None else clock() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left. Raises DeadlinePassed where there are none."""
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise DeadlinePassed
        return left_s

    def check(self) -> None:
        """Raises DeadlinePassed once it has."""
        self.remaining_s()


class Follower:
    """What was heard of a run so far, and what to do when its stream ends.

    A stream's end is the run's only where the run says so too: a failed run that was resumed has an end in its middle,
    and a server that is shut down ends streams without one.

    Args:
        open_after: describes the call.
        after: id of the last event that is known already; 0 for none.
        ended: the run was at its end when last looked at.
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
        """The call that goes on. Raises DeadlinePassed."""
        quiet_s = min(QUIET_S, self._deadline.remaining_s())
        following = Following(last_event=LAST_EVENT, quiet_s=quiet_s, on_bytes=self._deadline.check)
        return self._open_after(self.last_id, following)

    def opened(self) -> None:
        """The server has answered."""
        self._n_failed, self._waited_s, self._n_events = 0, 0.0, 0
        self._saw_end = self.in_doubt = False

    def fresh(self, event: RunEvent) -> bool:
        """Whether the event is not known yet; from now on it is."""
        if event.id <= self.last_id:
            return False
        self.last_id = event.id
        self._n_events += 1
        self._saw_end = event.type == LAST_EVENT
        return True

    def closed(self, error: PromptAtlasError | None) -> None:
        """The stream has ended, well (None) or badly; raises ``error`` where opening it again is of no use."""
        if error is None or isinstance(error, BrokenStreamError):
            self.in_doubt = True
        elif not isinstance(error, ConnectionFailedError) and not worth_retrying(error):
            raise error
        self.delay_s = 0.0
        if error is None:
            return
        self._n_failed += 1
        # Beyond a dozen doublings the delay has long been at its largest.
        n_failed = min(self._n_failed, 12)
        delay_s = self._wire.policy.backoff_s(n_failed=n_failed, jitter=self._wire.random())
        if self._waited_s + delay_s > PATIENCE_S:
            raise error
        self._waited_s += delay_s
        self.delay_s = min(delay_s, self._deadline.remaining_s())

    def over(self, *, ended: bool) -> bool:
        """Whether nothing more can come, now that the run was looked at."""
        if ended and (self._saw_end or (self._known_ended and self._n_events == 0)):
            return True
        self._known_ended = ended
        self.in_doubt = False
        return False


def follow(sender: Sender, follower: Follower, *, ended: Callable[[], bool]) -> Iterator[RunEvent]:
    """All events up to the run's end, over as many connections as it takes.

    Args:
        ended: looks at the run.

    Raises:
        DeadlinePassed: the follower's deadline.
        PromptAtlasError: what would be the same the next time, or has been the same for long.
    """
    while True:
        try:
            if follower.in_doubt and follower.over(ended=ended()):
                return
            with sender.events(follower.call()) as stream:
                follower.opened()
                for event in stream:
                    if follower.fresh(event):
                        yield event
            follower.closed(None)
        except PromptAtlasError as error:
            follower.closed(error)
        sender.pause(follower.delay_s)


async def follow_async(
    sender: AsyncSender, follower: Follower, *, ended: Callable[[], Awaitable[bool]]
) -> AsyncIterator[RunEvent]:
    """As follow."""
    while True:
        try:
            if follower.in_doubt and follower.over(ended=await ended()):
                return
            async with await sender.events(follower.call()) as stream:
                follower.opened()
                async for event in stream:
                    if follower.fresh(event):
                        yield event
            follower.closed(None)
        except PromptAtlasError as error:
            follower.closed(error)
        await sender.pause(follower.delay_s)
