"""Runs: long work as records that outlive its workers, and the decisions about its life.

runs/{id}/manifest.json                what was asked for; the run exists from the moment this does
runs/{id}/events/{first id}.json       its log, which is also its state: see run_log
runs/{id}/checkpoints/{0|1}/           see run_checkpoints
runs/{id}/outputs/{quoted path}/       see run_outputs
runs-unfinished/{id}.{event id}.json   see run_index

No lock is held anywhere. Each change of a run's life is one exclusive creation at the end of its log, made by whoever has
seen all before it; so of any number of processes on any hosts that would claim, cancel, resume or end a run, one does.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, BinaryIO

from promptatlas.types.runs import RunStatus

from service.errors import Busy, InvalidRequest
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.sealed_records import canonical_json
from service.store.artifacts.store import ArtifactStore
from service.store.listing import Page, check_limit
from service.store.runs.ids import RunIds, is_run_id, made_at
from service.store.runs.log import RunLog, curve_of, events_after
from service.store.runs.outputs import Outputs
from service.store.runs.records import Chunk, Output, RunRecord, RunState, StoredEvent, record_json
from service.store.runs.summaries import Row, RunSummaries, run_folder
from service.store.runs.transitions import Change, Decision, begin, cancel, create, record_death, resume
from service.store.runs.unfinished import UnfinishedRuns
from service.store.runs.writer import RunWriter

_MAX_TRIES = 1000
_LONG_CREATION = timedelta(hours=1)


class RunStore:
    """The runs in an artifact store; safe to share between threads, beside any number of others on the same store.

    Args:
        artifacts: where they lie.
        clock: stamps records and events, and orders ids.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._log = RunLog(artifacts)
        self._rows = RunSummaries(artifacts)
        self._index = UnfinishedRuns(artifacts)
        self._ids = RunIds()
        self._clock = clock

    def create(
        self,
        kind: str,
        *,
        spec: Mapping[str, Any],
        name: str | None = None,
        resolved: Mapping[str, Any] | None = None,
    ) -> RunRecord:
        """A new run, queued.

        Args:
            kind: of work.
            spec: what to do, as JSON values.
            name: for people.
            resolved: what the names in the spec mean now.
        """
        now = self._clock()
        record = RunRecord(
            id=self._ids.new(now),
            kind=kind,
            name=name,
            spec=dict(spec),
            created_at=write_time(now),
            resolved=dict(resolved or {}),
        )
        # Before anything is written: a spec that JSON does not know.
        canonical_json(record_json(record))
        chunk = _chunk(1, create(now=record.created_at))
        self._index.note(record.id, queued_id=chunk.first_id)
        self._log.append(record.id, chunk)
        self._artifacts.create(run_folder(record.id), label=f"run {record.id}", files={}, metadata=record_json(record))
        return record

    def get(self, run_id: str) -> tuple[RunRecord, RunState]:
        """A run's record and how it stands; NotFound, or DamagedArtifact."""
        return self._rows.row(run_id)

    def list_runs(
        self, *, kind: str | None = None, status: RunStatus | None = None, limit: int = 20, after: str | None = None
    ) -> Page[tuple[RunRecord, RunState]]:
        """Runs, newest first, those older than the cursor ``after``. Damaged ones are logged and left out."""
        check_limit(limit)
        if after is not None and not is_run_id(after):
            raise InvalidRequest(f"The cursor of runs is a run's id; this is {after[:80]!r}.", loc=("after",))
        names = reversed([name for name in self._artifacts.names("runs") if after is None or name < after])
        rows = (
            (record, state)
            for record, state in self._rows.rows(names)
            if kind in (None, record.kind) and status in (None, state.status)
        )
        found = list(islice(rows, limit + 1))
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=found[limit - 1][0].id if has_more else None)

    def unfinished(self) -> list[tuple[RunRecord, RunState]]:
        """The queued and the running, oldest first; damaged ones are logged and left out."""
        entries = list(self._index.entries())
        rows: dict[str, Row] = {row[0].id: row for row in self._rows.rows(sorted({run_id for run_id, _ in entries}))}
        for run_id, queued_id in entries:
            if run_id in rows:
                self._tidy(run_id, queued_id, state=rows[run_id][1])
            elif not self._artifacts.has_manifest(run_folder(run_id)):
                self._tidy_creation(run_id, queued_id)
        return [row for row in rows.values() if not row[1].has_ended]

    def request_cancel(self, run_id: str) -> RunState:
        """Stop a run: a queued one at once, a running one when its worker next looks.

        Raises:
            Conflict: it has ended.
        """
        return self._changed(run_id, lambda head: cancel(head.state, run_id=run_id, now=self._now()))

    def cancel_requested(self, run_id: str) -> bool:
        """Whether a running run was asked to stop."""
        self._rows.record(run_id)
        return self._log.head(run_id).state.cancel_requested

    def resume(self, run_id: str) -> RunState:
        """Queue a run again that failed or was cancelled; it goes on from its last checkpoint, if there is one.

        Raises:
            Conflict: it is queued or running, or has succeeded.
        """

        def decide(head: Chunk) -> Change:
            change = resume(head.state, run_id=run_id, next_id=head.next_id, now=self._now())
            # Before the run is queued, so that whoever looks after the unfinished cannot miss it.
            self._index.note(run_id, queued_id=head.next_id)
            return change

        return self._changed(run_id, decide)

    def note_death(self, run_id: str, *, attempt: int, reason: str, max_attempts: int) -> RunState:
        """An attempt's worker is gone: queue the run again, or fail it with the reason after ``max_attempts`` deaths.

        A run that was asked to stop is cancelled. Nothing happens if that attempt is not the one that is running.
        """
        return self._changed(
            run_id,
            lambda head: record_death(
                head.state, attempt=attempt, reason=reason, max_attempts=max_attempts, now=self._now()
            ),
        )

    def claim(self, run_id: str, *, worker: str) -> RunWriter:
        """Begin the next attempt at a queued run.

        Args:
            run_id: of the run.
            worker: who begins, for people.

        Raises:
            Conflict: it is not queued, or another worker was faster.
        """
        record = self._rows.record(run_id)
        head = self._change(run_id, lambda head: begin(head.state, run_id=run_id, worker=worker, now=self._now()))
        return RunWriter(self._artifacts, record=record, claimed=head, clock=self._clock)

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """The first ``limit`` events behind the one numbered ``after``.

        A ``done`` event is the last of a run that has ended; those of ends before a resume are told as ``status``.
        """
        self._rows.record(run_id)
        return events_after(self._log, run_id, after=after, limit=limit)

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """The run's curve: one point for each step and member, in order of step; later attempts replace earlier ones."""
        self._rows.record(run_id)
        return curve_of(self._log, run_id)

    def outputs(self, run_id: str) -> list[Output]:
        """What the run has left so far, in order of path."""
        self._rows.record(run_id)
        return Outputs(self._artifacts, run_id=run_id).all()

    def read_output(self, run_id: str, path: str) -> bytes:
        """The bytes of an output, checked; NotFound, or DamagedArtifact."""
        self._rows.record(run_id)
        return Outputs(self._artifacts, run_id=run_id).read(path)

    def open_output(self, run_id: str, path: str) -> tuple[BinaryIO, Output]:
        """A reader of an output that raises DamagedArtifact rather than give the last of damaged bytes; NotFound."""
        self._rows.record(run_id)
        return Outputs(self._artifacts, run_id=run_id).open(path)

    def _changed(self, run_id: str, decide: Decision) -> RunState:
        self._rows.record(run_id)
        return self._change(run_id, decide).state

    def _change(self, run_id: str, decide: Decision) -> Chunk:
        """Put the next chunk where the log ends, deciding anew each time that another was faster; the last chunk."""
        for _ in range(_MAX_TRIES):
            head = self._log.head(run_id)
            change = decide(head)
            if change is None:
                return head
            chunk = _chunk(head.next_id, change)
            if self._log.append(run_id, chunk):
                self._log.hint(run_id, chunk)
                if chunk.state.has_ended:
                    self._index.forget(run_id, queued_id=chunk.state.queued_id)
                return chunk
        raise Busy(f"Too much happens to run {run_id} at once.", retry_after_s=1.0)

    def _tidy(self, run_id: str, queued_id: int, *, state: RunState) -> None:
        """Remove an entry of a life that is over."""
        if queued_id < state.queued_id or (queued_id == state.queued_id and state.has_ended):
            self._index.forget(run_id, queued_id=queued_id)

    def _tidy_creation(self, run_id: str, queued_id: int) -> None:
        """Remove what a creation that died has left."""
        if is_run_id(run_id) and self._clock() - made_at(run_id) > _LONG_CREATION:
            self._log.drop_first(run_id)
            self._index.forget(run_id, queued_id=queued_id)

    def _now(self) -> str:
        return write_time(self._clock())


def _chunk(first_id: int, change: Change) -> Chunk:
    return Chunk(first_id=first_id, events=change.events, state=change.state, writer=secrets.token_hex(8))
