"""Announces states of runs to the indexes of the store."""

from __future__ import annotations

from collections.abc import Iterable

from service.store.artifacts.clock import Clock
from service.store.artifacts.store import ArtifactStore
from service.store.index.changes import Changes
from service.store.index.entries import DELETED, RunEntry, TagEntry
from service.store.runs.records import Chunk, RunRecord


class RunChanges:
    """Notes in the changes of an artifact store. A note that fails does not affect the run."""

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock) -> None:
        self._changes = Changes(artifacts, clock=clock)

    def note(self, record: RunRecord, chunk: Chunk) -> bool:
        """Announce the state after ``chunk``; returns False if the store failed."""
        # Again: an index that was built while the run was damaged lacks them.
        self.note_tags(record.id, chunk.state.tags)
        return self._changes.note(
            RunEntry(run_id=record.id, kind=record.kind, status=chunk.state.status, event_id=chunk.first_id)
        )

    def note_tags(self, run_id: str, tags: Iterable[str]) -> None:
        """Announce that a run is about to have these tags."""
        for tag in sorted(tags):
            self._changes.note(TagEntry(run_id=run_id, tag=tag))

    def note_deletion(self, run_id: str, *, after: Chunk | None) -> None:
        """Announce that a run was deleted. after: the last chunk of its log, None if that was damaged."""
        event_id = 0 if after is None else after.next_id
        self._changes.note(RunEntry(run_id=run_id, kind=DELETED, status=DELETED, event_id=event_id))
