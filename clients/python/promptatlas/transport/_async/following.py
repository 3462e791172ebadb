"""Event stream over as many connections as needed, without gaps or repeats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from promptatlas.errors import PromptAtlasError
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.follower import Follower
from promptatlas.types import RunEvent


async def follow(
    sender: AsyncSender, follower: Follower, *, ended: Callable[[], Awaitable[bool]]
) -> AsyncIterator[RunEvent]:
    """All events up to the end of the run.

    Args:
        ended: reads the run's status; True if the run has ended.

    Raises:
        DeadlinePassed: the follower's deadline has passed.
        PromptAtlasError: an error that reopening the stream cannot fix, or that has persisted for too long.
    """
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
