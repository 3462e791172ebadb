"""Stories of runs, told to a store that may fail at any write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from service.errors import Conflict, Unavailable
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter

Result = TypeVar("Result")


class Story:
    """What a process does to one run, and what it was told of it."""

    def __init__(self, runs: RunStore, *, is_patient: bool) -> None:
        self.runs = runs
        self.run_id: str | None = None
        self.n_said = 0
        self.saved: list[bytes] = []
        self.n_tried = 0
        self.end: str | None = None
        self._n_tries = 3 if is_patient else 1

    def do(self, call: Callable[[], Result]) -> Result:
        """Call until the store does not refuse."""
        for _ in range(self._n_tries - 1):
            with suppress(Unavailable):
                return call()
        return call()

    def create(self) -> str:
        self.run_id = self.do(lambda: self.runs.create("tune", spec={})).id
        return self.run_id

    def work(self, writer: RunWriter, n_steps: int) -> None:
        for _ in range(n_steps):
            self.n_said += 1
            writer.emit("metric", {"step": self.n_said})
            self.n_tried += 1
            data = b"%d" % self.n_tried
            self.do(lambda data=data: writer.save_checkpoint({"state": data}))  # type: ignore[misc]
            self.saved.append(data)
            writer.set_progress(self.n_said)
            self.do(writer.flush)
            self.do(lambda: writer.put_output("a/b", b"out"))

    def finish(self, writer: RunWriter, status: Any) -> None:
        self.do(lambda: writer.finish(status, metrics={"x": 1.0}))
        self.end = status


def claim(story: Story, run_id: str) -> RunWriter:
    """The next attempt; a claim whose answer got lost is noted as a death first, as whoever looks after runs does."""

    def once() -> RunWriter:
        _, state = story.runs.get(run_id)
        if state.status == "running":
            story.runs.note_death(run_id, attempt=state.attempts, reason="no sign of life", max_attempts=9)
        return story.runs.claim(run_id, worker="w")

    return story.do(once)


def straight(story: Story) -> None:
    run_id = story.create()
    writer = claim(story, run_id)
    story.work(writer, 2)
    story.finish(writer, "succeeded")


def stopped_and_resumed(story: Story) -> None:
    run_id = story.create()
    writer = claim(story, run_id)
    story.work(writer, 1)
    story.do(lambda: story.runs.request_cancel(run_id))
    writer.require_current()
    story.finish(writer, "cancelled")
    story.end = None
    with suppress(Conflict):  # its first try was heard
        story.do(lambda: story.runs.resume(run_id))
    writer = claim(story, run_id)
    story.work(writer, 1)
    story.finish(writer, "succeeded")


def died_and_gone_on(story: Story) -> None:
    run_id = story.create()
    story.work(claim(story, run_id), 1)
    story.do(
        lambda: story.runs.note_death(run_id, attempt=story.runs.get(run_id)[1].attempts, reason="x", max_attempts=9)
    )
    writer = claim(story, run_id)
    story.work(writer, 1)
    story.do(lambda: writer.release("shutting down"))
    story.finish(claim(story, run_id), "failed")


def cancelled_in_the_queue(story: Story) -> None:
    run_id = story.create()
    with suppress(Conflict):
        story.do(lambda: story.runs.request_cancel(run_id))
    story.end = "cancelled"


STORIES = [straight, stopped_and_resumed, died_and_gone_on, cancelled_in_the_queue]
