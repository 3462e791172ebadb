"""Store of runs: creation, listing and state changes of long-running work.

runs/{id}/manifest.json                the request; the run exists once this does
runs/{id}/events/{first id}.json       the log, which includes the state: see ``log``
runs/{id}/checkpoints/{0|1}/           see ``checkpoints``
runs/{id}/outputs/{quoted path}/       see ``outputs``
runs-unfinished/{id}.{event id}.json   see ``unfinished``

There are no locks. Each state change is one exclusive append to the log by a process that has read the whole log. Of
concurrent processes that claim, cancel, resume or end a run, exactly one succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from promptatlas.types.runs import RunStatus

from service.errors import Busy, Conflict, Expired, NotFound
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.sealed_records import canonical_json
from service.store.artifacts.store import ArtifactStore
from service.store.index.index import StoreIndex
from service.store.listing import Page
from service.store.runs import transitions
from service.store.runs.changes import RunChanges
from service.store.runs.deletion import RunDeletion
from service.store.runs.expiry import ExpiredPart, RunExpiry
from service.store.runs.ids import RunIds
from service.store.runs.listing import RunListing
from service.store.runs.log.chain import RunLog, curve_of, events_after
from service.store.runs.outputs import Outputs
from service.store.runs.records import Chunk, Output, RunRecord, RunState, StoredEvent, record_json
from service.store.runs.summaries import Row, RunSummaries, run_folder
from service.store.runs.transitions import Change, Decision, chunk_of, uses_reserve
from service.store.runs.unfinished import UnfinishedEntry, UnfinishedRuns
from service.store.runs.writer import RunWriter

_MAX_TRIES = 1000


class RunStore:
    """Runs in an artifact store; thread-safe, and safe with other instances on the same store.

    Args:
        artifacts: The artifact store.
        clock: Timestamps of records, events and ids.
        index: Of the same store, for lists; None: lists are read from the files.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now, index: StoreIndex | None = None) -> None:
        self._artifacts = artifacts
        self._listing = RunListing(artifacts, index=index)
        self._changes = RunChanges(artifacts, clock=clock)
        self._log = RunLog(artifacts)
        self._rows = RunSummaries(artifacts)
        self._index = UnfinishedRuns(artifacts)
        self._expiry = RunExpiry(artifacts, clock=clock)
        self._ids = RunIds()
        self._clock = clock

    def create(
        self,
        kind: str,
        *,
        spec: Mapping[str, Any],
        name: str | None = None,
        resolved: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> RunRecord:
        """Create a queued run.

        Args:
            kind: Kind of run.
            spec: JSON values.
            name: Display name.
            resolved: What names in the spec refer to now.
            traceparent: Trace context of the request.
        """
        now = self._clock()
        record = RunRecord(
            id=self._ids.new(now),
            kind=kind,
            name=name,
            spec=dict(spec),
            created_at=write_time(now),
            resolved=dict(resolved or {}),
            traceparent=traceparent,
        )
        # Fails before anything is written if the spec is not JSON.
        canonical_json(record_json(record))
        chunk = chunk_of(transitions.create(now=record.created_at), first_id=1)
        self._index.note(record.id, queued_id=chunk.first_id)
        self._log.append(record.id, chunk)
        # Without a hint, each reader would have to list the log of a run that waits.
        self._log.hint(record.id, chunk)
        # Before the run exists, so that no crash leaves a run that an index does not know.
        self._changes.note(record, chunk)
        self._artifacts.create(run_folder(record.id), label=f"run {record.id}", files={}, metadata=record_json(record))
        return record

    def get(self, run_id: str) -> tuple[RunRecord, RunState]:
        """Record and state of a run; raises NotFound or DamagedArtifact."""
        return self._rows.row(run_id)

    def list_runs(
        self,
        *,
        kind: str | None = None,
        status: RunStatus | None = None,
        tag: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[tuple[RunRecord, RunState]]:
        """Runs older than the cursor ``after``, newest first. Damaged ones are logged and skipped."""
        return self._listing.page(kind=kind, status=status, tag=tag, limit=limit, after=after)

    def unfinished_entries(self) -> list[UnfinishedEntry]:
        """The index of possibly unfinished runs, oldest run first; one listing."""
        return list(self._index.entries())

    def unfinished(self, entries: Sequence[UnfinishedEntry] | None = None) -> list[tuple[RunRecord, RunState]]:
        """Queued and running runs, oldest first; damaged ones are logged and skipped.

        Args:
            entries: Reads the runs of these entries only; some of :meth:`unfinished_entries`.
        """
        entries = self.unfinished_entries() if entries is None else entries
        rows: dict[str, Row] = {row[0].id: row for row in self._rows.rows(sorted({run_id for run_id, _ in entries}))}
        for run_id, queued_id in entries:
            if run_id in rows:
                self._remove_outdated_entry(queued_id, row=rows[run_id])
            elif not self._artifacts.has_manifest(run_folder(run_id)):
                self._index.remove_failed_creation(run_id, queued_id=queued_id, log=self._log, now=self._clock())
        return [row for row in rows.values() if not row[1].has_ended]

    def hold_reserve(self) -> None:
        """Reserve the space in which ends of runs can be recorded on a full disk."""
        self._artifacts.hold_reserve()

    def request_cancel(self, run_id: str) -> RunState:
        """Cancel a run: a queued one at once, a running one when its worker next checks.

        Raises:
            Conflict: The run has ended.
        """
        return self._changed(run_id, lambda head: transitions.cancel(head.state, run_id=run_id, now=self._now()))

    def annotate(self, run_id: str, *, notes: str | None = None, tags: Sequence[str] | None = None) -> RunState:
        """Set the notes and tags of a run in any state; None: as before. Of concurrent calls, the last one counts."""

        def decide(head: Chunk) -> Change | None:
            change = transitions.annotate(head.state, notes=notes, tags=tags, now=self._now())
            if change is not None:
                # Before the run has them, so that an index never lacks one.
                self._changes.note_tags(run_id, set(change.state.tags).difference(head.state.tags))
            return change

        return self._require_not_deleted(run_id, self._changed(run_id, decide))

    def cancel_requested(self, run_id: str) -> bool:
        """Whether cancellation of a running run was requested."""
        self._rows.record(run_id)
        return self._log.head(run_id).state.cancel_requested

    def resume(self, run_id: str) -> RunState:
        """Queue a failed or cancelled run again; it resumes from its last checkpoint, if there is one.

        Raises:
            Conflict: The run is queued or running, or has succeeded, or expired parts of it are being removed.
        """

        def decide(head: Chunk) -> Change:
            # After the log was read, see ``expiry``.
            if self._expiry.is_removing(run_id):
                raise Conflict(f"Expired parts of run {run_id} are being removed; resume it in some minutes.")
            change = transitions.resume(head.state, run_id=run_id, next_id=head.next_id, now=self._now())
            # Before the run is queued, so that ``unfinished`` never misses it.
            self._index.note(run_id, queued_id=head.next_id)
            return change

        return self._require_not_deleted(run_id, self._changed(run_id, decide))

    def delete(self, run_id: str) -> None:
        """Delete a run that has ended, with its log, checkpoints and outputs. Prompts that it created are kept.

        Raises:
            Conflict: The run is queued or running.
        """
        RunDeletion(self._artifacts, clock=self._clock).delete(run_id)

    def note_death(self, run_id: str, *, attempt: int, reason: str, max_attempts: int) -> RunState:
        """Record that the worker of an attempt died: queue the run again, or fail it after ``max_attempts`` deaths.

        A run with a cancellation request is cancelled. No effect if the attempt is not the running one.
        """
        return self._changed(
            run_id,
            lambda head: transitions.record_death(
                head.state, attempt=attempt, reason=reason, max_attempts=max_attempts, now=self._now()
            ),
        )

    def claim(self, run_id: str, *, worker: str) -> RunWriter:
        """Start the next attempt at a queued run. worker: its display name.

        Raises:
            Conflict: The run is not queued, e.g. because another worker claimed it.
        """
        record = self._rows.record(run_id)
        head = self._change(
            run_id, lambda head: transitions.begin(head.state, run_id=run_id, worker=worker, now=self._now())
        )
        return RunWriter(self._artifacts, record=record, claimed=head, clock=self._clock)

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """The first ``limit`` events with ids greater than ``after``.

        A ``done`` event is the last event of an ended run; ``done`` events before a resume are returned as ``status``.
        """
        self._rows.record(run_id)
        return events_after(self._log, run_id, after=after, limit=limit)

    def metrics(self, run_id: str, *, with_times: bool = False) -> list[dict[str, Any]]:
        """Curve of the run, see ``log.curve_of``; later attempts replace the points of earlier ones.

        Raises:
            Expired: Its events have expired, and no attempt since has recorded any.
        """
        self._rows.record(run_id)
        points = curve_of(self._log, run_id, with_times=with_times)
        if not points and any(part.part == "events" for part in self._expiry.parts_of(run_id)):
            raise Expired(f"The events of run {run_id} have expired, with the points of its curve.")
        return points

    def outputs(self, run_id: str) -> list[Output]:
        """Outputs of the run so far, ordered by path."""
        self._rows.record(run_id)
        return Outputs(self._artifacts, run_id=run_id).all()

    def expired(self, run_id: str) -> list[ExpiredPart]:
        """Parts of the run that have expired; without outputs that a later attempt has stored again."""
        parts = self._expiry.parts_of(run_id)
        stored = {output.path for output in self.outputs(run_id)} if parts else set()
        return [part for part in parts if part.path is None or part.path not in stored]

    def read_output(self, run_id: str, path: str) -> bytes:
        """The verified bytes of an output; raises NotFound or DamagedArtifact."""
        self._rows.record(run_id)
        return Outputs(self._artifacts, run_id=run_id).read(path)

    def open_output(self, run_id: str, path: str) -> tuple[BinaryIO, Output]:
        """Open an output for streaming, verified as in ``ArtifactStore.open``; raises NotFound or DamagedArtifact."""
        self._rows.record(run_id)
        return Outputs(self._artifacts, run_id=run_id).open(path)

    def _require_not_deleted(self, run_id: str, state: RunState) -> RunState:
        """``state`` after a change of a run that had ended; NotFound if the run was deleted meanwhile."""
        if not self._artifacts.has_manifest(run_folder(run_id)):
            # The deletion has removed the log, so that the append had no competitor.
            self._artifacts.remove_folder(run_folder(run_id))
            self._index.forget(run_id, queued_id=state.queued_id)
            raise NotFound(f"There is no run {run_id!r}.")
        return state

    def _changed(self, run_id: str, decide: Decision) -> RunState:
        self._rows.record(run_id)
        return self._change(run_id, decide).state

    def _change(self, run_id: str, decide: Decision) -> Chunk:
        """Append the chunk that ``decide`` returns, deciding again after a concurrent append; returns the last chunk."""
        for _ in range(_MAX_TRIES):
            head = self._log.head(run_id)
            # After the log was read: a deletion withdraws the record before it appends to the log.
            record = self._rows.record(run_id)
            change = decide(head)
            if change is None:
                return head
            chunk = chunk_of(change, first_id=head.next_id)
            if self._log.append(run_id, chunk, use_reserve=uses_reserve(head.state, chunk.state)):
                self._log.hint(run_id, chunk)
                # An entry that stays is removed by ``unfinished``, which announces the status again.
                is_noted = chunk.state.status == head.state.status or self._changes.note(record, chunk)
                if chunk.state.has_ended and is_noted:
                    self._index.forget(run_id, queued_id=chunk.state.queued_id)
                return chunk
        raise Busy(f"Too many concurrent changes of run {run_id}.", retry_after_s=1.0)

    def _remove_outdated_entry(self, queued_id: int, *, row: Row) -> None:
        """Remove an outdated index entry."""
        record, state = row
        if queued_id < state.queued_id:
            self._index.forget(record.id, queued_id=queued_id)
        elif queued_id == state.queued_id and state.has_ended and self._changes.note(record, self._log.head(record.id)):
            # Announced again: the process that ended the run may have died before it did.
            self._index.forget(record.id, queued_id=queued_id)

    def _now(self) -> str:
        return write_time(self._clock())
