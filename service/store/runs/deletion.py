"""Deletion of a run: its record, log, checkpoints and outputs.

First the record is withdrawn, so that nobody finds the run. Then a last chunk is appended to the log: of a deletion and a
concurrent resume, which appends as well, exactly one succeeds. Then the files are removed, the record last, so that an
interrupted deletion can be repeated.
"""

from __future__ import annotations

import secrets

from service.errors import Conflict, DamagedArtifact, NotFound
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.runs.changes import RunChanges
from service.store.runs.ids import is_run_id
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk, NewEvent, RunState
from service.store.runs.summaries import run_folder
from service.store.runs.unfinished import UnfinishedRuns


class RunDeletion:
    """Deletes runs of an artifact store; stateless."""

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._log = RunLog(artifacts)
        self._index = UnfinishedRuns(artifacts)
        self._changes = RunChanges(artifacts, clock=clock)
        self._clock = clock

    def delete(self, run_id: str) -> None:
        """Delete a run that has ended, or finish an interrupted deletion. Damaged runs can be deleted.

        Raises:
            NotFound: There is no such run.
            Conflict: The run is queued or running.
        """
        record = self._find(run_id)
        head = self._head(run_id)
        if record is not None and not record.retired:
            if head is not None:
                _require_ended(run_id, head.state)
            self._artifacts.retire(record)
            self._close_log(run_id, record=record)
        if head is not None:
            self._index.forget(run_id, queued_id=head.state.queued_id)
        for part in ("checkpoints", "outputs", "events"):
            self._artifacts.remove_folder(f"{run_folder(run_id)}/{part}")
        self._artifacts.remove_folder(run_folder(run_id))
        self._changes.note_deletion(run_id, after=head)

    def _find(self, run_id: str) -> Artifact | None:
        """The record, also if it is withdrawn; None if it is damaged."""
        if not is_run_id(run_id) or not self._artifacts.has_manifest(run_folder(run_id)):
            raise NotFound(f"There is no run {run_id[:80]!r}.")
        try:
            return self._artifacts.get(run_folder(run_id), label=f"run {run_id}")
        except DamagedArtifact:
            return None

    def _head(self, run_id: str) -> Chunk | None:
        try:
            return self._log.head(run_id)
        except DamagedArtifact:
            return None

    def _close_log(self, run_id: str, *, record: Artifact) -> None:
        now = write_time(self._clock())
        event = NewEvent(type="log", time=now, data={"level": "info", "text": "The run was deleted."})
        while (head := self._head(run_id)) is not None:
            try:
                _require_ended(run_id, head.state)
            except Conflict:  # it was resumed in between
                self._artifacts.restore(record)
                raise
            chunk = Chunk(first_id=head.next_id, events=(event,), state=head.state, writer=secrets.token_hex(8))
            if self._log.append(run_id, chunk, use_reserve=True):
                return


def _require_ended(run_id: str, state: RunState) -> None:
    if not state.has_ended:
        raise Conflict(f"Run {run_id} is {state.status} and cannot be deleted: cancel it first.")
