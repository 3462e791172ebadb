# Generated from promptatlas.transport._async.following by generate_sync.py: edit that module, then run `make generate`.
"""Event stream over as many connections as needed, without gaps or repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from promptatlas.errors import PromptAtlasError
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.follower import Follower
from promptatlas.types import RunEvent


def follow(sender: Sender, follower: Follower, *, ended: Callable[[], bool]) -> Iterator[RunEvent]:
    """All events up to the end of the run.

    Args:
        ended: reads the run's status; True if the run has ended.

    Raises:
        DeadlinePassed: the follower's deadline has passed.
        PromptAtlasError: an error that reopening the stream cannot fix, or that has persisted for too long.
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
