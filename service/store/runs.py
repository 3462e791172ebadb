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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

from promptatlas.types.runs import EventType, RunStatus

from service.errors import Busy, Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts import ArtifactStore
from service.store.manifests import Page
from service.store.prompt_versions import log_damage
from service.store.run_checkpoints import Checkpoints
from service.store.run_ids import RunIds, is_run_id
from service.store.run_index import UnfinishedRuns
from service.store.run_log import RunLog
from service.store.run_outputs import Outputs
from service.store.run_reading import curve_of, events_after
from service.store.run_records import (
    Chunk,
    NewEvent,
    Output,
    RunRecord,
    RunState,
    StoredEvent,
    cut,
    done_data,
    status_data,
)
from service.store.run_writer import RunWriter
from service.store.times import Clock, utc_now, write_time

MAX_LIMIT = 1000

_MAX_TRIES = 1000

Events = Sequence[tuple[EventType, Mapping[str, Any]]]
Change = Callable[[Chunk], tuple[RunState, Events] | None]
"""From the last chunk to the next state and the events that say so; None to leave all as it is."""


class RunStore:
    """The runs in an artifact store; safe to share between threads, beside any number of others on the same store.

    Args:
        artifacts: where they lie.
        clock: stamps records and events, and orders ids.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._log = RunLog(artifacts)
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
        """A new run, queued. ``resolved``: what the names in its spec mean now."""
        now = self._clock()
        record = RunRecord(
            id=self._ids.new(now),
            kind=kind,
            name=name,
            spec=dict(spec),
            created_at=write_time(now),
            resolved=dict(resolved or {}),
        )
        state = RunState(status="queued")
        self._index.note(record.id, queued_id=state.queued_id)
        self._log.append(record.id, self._chunk(1, state, [("status", status_data(state))]))
        self._artifacts.create(
            _folder(record.id), label=f"run {record.id}", files={}, metadata=_record_json(record)
        )  # fmt: skip
        return record

    def get(self, run_id: str) -> tuple[RunRecord, RunState]:
        """A run's record and how it stands; NotFound, or DamagedArtifact."""
        record = self._record(run_id)
        state = self._log.head(run_id).state
        if not state.has_checkpoint and Checkpoints(self._artifacts, run_id=run_id).exist():
            state = replace(state, has_checkpoint=True)
        return record, state

    def list_runs(
        self, *, kind: str | None = None, status: RunStatus | None = None, limit: int = 20, after: str | None = None
    ) -> Page[tuple[RunRecord, RunState]]:
        """Runs, newest first, those older than the cursor ``after``. Damaged ones are logged and left out."""
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(f"limit must be 1 to {MAX_LIMIT}; it is {limit}.", loc=("limit",))
        if after is not None and not is_run_id(after):
            raise InvalidRequest(f"The cursor of runs is a run's id; this is {after[:80]!r}.", loc=("after",))
        names = reversed([name for name in self._artifacts.names("runs") if after is None or name < after])
        rows = (
            (record, state)
            for record, state in self._sound(names)
            if kind in (None, record.kind) and status in (None, state.status)
        )
        found = list(islice(rows, limit + 1))
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=found[limit - 1][0].id if has_more else None)

    def unfinished(self) -> list[tuple[RunRecord, RunState]]:
        """The queued and the running, oldest first; damaged ones are logged and left out."""
        found = []
        for run_id, queued_id in list(self._index.entries()):
            for record, state in self._sound([run_id]):
                if not state.has_ended and state.queued_id == queued_id:
                    found.append((record, state))
                elif state.queued_id > queued_id or (state.has_ended and state.queued_id == queued_id):
                    self._index.forget(run_id, queued_id=queued_id)
        return found

    def request_cancel(self, run_id: str) -> RunState:
        """Stop a run: a queued one at once, a running one when its worker next looks.

        Raises:
            Conflict: it has ended.
        """

        def change(head: Chunk) -> tuple[RunState, Events] | None:
            state = head.state
            if state.has_ended:
                raise Conflict(f"Run {run_id} cannot be cancelled: it is {state.status} already.")
            if state.status == "queued":
                return self._ending(replace(state, status="cancelled"))
            if state.cancel_requested:
                return None
            return replace(state, cancel_requested=True), [_said("The run was asked to stop.")]

        return self._changed(run_id, change)

    def cancel_requested(self, run_id: str) -> bool:
        """Whether a running run was asked to stop."""
        self._record(run_id)
        return self._log.head(run_id).state.cancel_requested

    def resume(self, run_id: str) -> RunState:
        """Queue a run again that failed or was cancelled; it goes on from its last checkpoint, if there is one.

        Raises:
            Conflict: it is queued or running, or has succeeded.
        """

        def change(head: Chunk) -> tuple[RunState, Events]:
            _refuse_resume(run_id, head.state)
            # Before the run is queued, so that whoever looks after the unfinished cannot miss it.
            self._index.note(run_id, queued_id=head.next_id)
            state = replace(
                head.state,
                status="queued",
                n_deaths=0,
                metrics={},
                error=None,
                cancel_requested=False,
                ended_at=None,
                queued_id=head.next_id,
            )
            return state, [("status", status_data(state))]

        return self._changed(run_id, change)

    def note_death(self, run_id: str, *, attempt: int, reason: str, max_attempts: int) -> RunState:
        """An attempt's worker is gone: queue the run again, or fail it with the reason after ``max_attempts`` deaths.

        A run that was asked to stop is cancelled. Nothing happens if that attempt is not the one that is running.
        """

        def change(head: Chunk) -> tuple[RunState, Events] | None:
            state = head.state
            if state.status != "running" or state.attempts != attempt:
                return None
            state = replace(state, n_deaths=state.n_deaths + 1)
            said = _said(f"Attempt {attempt} died: {cut(reason)}", level="warning")
            if state.cancel_requested:
                return self._ending(replace(state, status="cancelled"), said)
            if state.n_deaths >= max_attempts:
                return self._ending(replace(state, status="failed", error=cut(reason)), said)
            state = replace(state, status="queued")
            return state, [said, ("status", status_data(state))]

        return self._changed(run_id, change)

    def claim(self, run_id: str, *, worker: str) -> RunWriter:
        """Begin the next attempt at a queued run.

        Args:
            run_id: of the run.
            worker: who begins, for people.

        Raises:
            Conflict: it is not queued, or another worker was faster.
        """
        record = self._record(run_id)

        def change(head: Chunk) -> tuple[RunState, Events]:
            state = head.state
            if state.status != "queued":
                raise Conflict(f"Run {run_id} cannot be begun: it is {state.status}, not queued.")
            number = state.attempts + 1
            started_at = state.started_at or write_time(self._clock())
            state = replace(state, status="running", attempts=number, started_at=started_at)
            return state, [("status", status_data(state, attempt=number, worker=worker))]

        head = self._change(run_id, change)
        return RunWriter(self._artifacts, record=record, claimed=head, clock=self._clock)

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """The first ``limit`` events behind the one numbered ``after``.

        A ``done`` event is the last of a run that has ended; those of ends before a resume are told as ``status``.
        """
        self._record(run_id)
        return events_after(self._log, run_id, after=after, limit=limit)

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """The run's curve: one point for each step and member, in order of step; later attempts replace earlier ones."""
        self._record(run_id)
        return curve_of(self._log, run_id)

    def outputs(self, run_id: str) -> list[Output]:
        """What the run has left so far, in order of path."""
        self._record(run_id)
        return Outputs(self._artifacts, run_id=run_id).all()

    def read_output(self, run_id: str, path: str) -> bytes:
        """The bytes of an output, checked; NotFound, or DamagedArtifact."""
        self._record(run_id)
        return Outputs(self._artifacts, run_id=run_id).read(path)

    def open_output(self, run_id: str, path: str) -> tuple[BinaryIO, Output]:
        """A reader of an output that raises DamagedArtifact rather than give the last of damaged bytes; NotFound."""
        self._record(run_id)
        return Outputs(self._artifacts, run_id=run_id).open(path)

    def _record(self, run_id: str) -> RunRecord:
        artifact = self._artifacts.get(_folder(run_id), label=f"run {run_id}") if is_run_id(run_id) else None
        if artifact is None or artifact.retired:
            raise NotFound(f"There is no run {run_id[:80]!r}.")
        try:
            return RunRecord(**artifact.metadata)
        except TypeError:
            raise DamagedArtifact(f"run {run_id} is damaged: its manifest has an unknown form.") from None

    def _sound(self, run_ids: Iterator[str] | Sequence[str]) -> Iterator[tuple[RunRecord, RunState]]:
        return filter(None, map(self._sound_one, run_ids))

    def _sound_one(self, run_id: str) -> tuple[RunRecord, RunState] | None:
        try:
            return self.get(run_id)
        except NotFound:
            # Being created, or its creation died.
            return None
        except DamagedArtifact as error:
            log_damage(error)
            return None

    def _changed(self, run_id: str, change: Change) -> RunState:
        self._record(run_id)
        return self._change(run_id, change).state

    def _change(self, run_id: str, change: Change) -> Chunk:
        """Put the next chunk where the log ends, deciding anew each time that another was faster."""
        head = self._log.head(run_id)
        for _ in range(_MAX_TRIES):
            decided = change(head)
            if decided is None:
                return head
            chunk = self._chunk(head.next_id, *decided)
            if self._log.append(run_id, chunk):
                self._log.hint(run_id, chunk)
                if chunk.state.has_ended:
                    self._index.forget(run_id, queued_id=chunk.state.queued_id)
                return chunk
            head = self._log.newest(run_id, head)
        raise Busy(f"Too much happens to run {run_id} at once.", retry_after_s=1.0)

    def _chunk(self, first_id: int, state: RunState, events: Events) -> Chunk:
        now = write_time(self._clock())
        said = tuple(NewEvent(type=event_type, time=now, data=data) for event_type, data in events)
        return Chunk(first_id=first_id, events=said, state=state, writer=secrets.token_hex(8))

    def _ending(self, state: RunState, *said: tuple[EventType, Mapping[str, Any]]) -> tuple[RunState, Events]:
        state = replace(state, cancel_requested=False, ended_at=write_time(self._clock()))
        return state, [*said, ("done", done_data(state))]


def _refuse_resume(run_id: str, state: RunState) -> None:
    if state.status in ("failed", "cancelled"):
        return
    advice = {
        "queued": "it waits for a worker already",
        "running": "it is being worked on; cancel it first to begin it again",
        "succeeded": "there is nothing left of it to do; start a new run with the same spec",
    }
    raise Conflict(f"Run {run_id} is {state.status} and cannot be resumed: {advice[state.status]}.")


def _said(text: str, *, level: str = "info") -> tuple[EventType, Mapping[str, Any]]:
    return "log", {"level": level, "text": text}


def _folder(run_id: str) -> str:
    return f"runs/{run_id}"


def _record_json(record: RunRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "kind": record.kind,
        "name": record.name,
        "spec": dict(record.spec),
        "created_at": record.created_at,
        "resolved": dict(record.resolved),
    }
