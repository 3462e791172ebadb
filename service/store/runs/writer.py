"""Writer of one attempt at a run: events, progress, checkpoints, outputs and the final status.

Only the newest attempt of a running run can write to its log. Events are buffered in memory until ``flush`` writes them. A
failed flush can be retried; no event is written twice.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptatlas.types.runs import EventType

from service.errors import InvalidRequest, NotFound, StoreFull
from service.store.artifacts.clock import Clock, write_time
from service.store.artifacts.store import ArtifactStore
from service.store.runs.changes import RunChanges
from service.store.runs.checkpoints import Checkpoints
from service.store.runs.log.chain import RunLog
from service.store.runs.log.event_buffer import EventBuffer
from service.store.runs.outputs import Outputs
from service.store.runs.records import (
    ENDED,
    Chunk,
    EndStatus,
    Output,
    RunProgress,
    RunRecord,
    RunState,
    StaleAttempt,
    status_data,
)
from service.store.runs.transitions import Change, end, release
from service.store.runs.unfinished import UnfinishedRuns

__all__ = ["RunWriter", "StaleAttempt"]

_HINT_EVERY = 8


class RunWriter:
    """Writes one attempt; created by ``RunStore.claim``. Thread-safe.

    Calls that write raise StaleAttempt if a newer attempt exists or the run has ended, and Unavailable if the store fails,
    e.g. because the disk is full; they can be retried then. ``emit``, ``set_progress`` and ``add_prompt`` only update
    memory and never wait for a write.

    Attributes:
        record: Record of the run.
        attempt: Number of the attempt, from 1.
    """

    def __init__(self, artifacts: ArtifactStore, *, record: RunRecord, claimed: Chunk, clock: Clock) -> None:
        self.record = record
        self.attempt = claimed.state.attempts
        self._log = RunLog(artifacts)
        self._index = UnfinishedRuns(artifacts)
        self._changes = RunChanges(artifacts, clock=clock)
        self._checkpoints = Checkpoints(artifacts, run_id=record.id)
        self._outputs = Outputs(artifacts, run_id=record.id)
        self._clock = clock
        self._token = secrets.token_hex(8)
        self._buffer = EventBuffer()
        # Acquired in this order: the first is held during writes to the log, the last only briefly.
        self._write_lock = threading.RLock()
        self._checkpoint_lock = threading.Lock()
        self._pending_lock = threading.Lock()
        self._head = claimed
        self._n_unhinted = 0
        self._pending = claimed.state
        self._is_emitted = True

    def emit(self, event_type: EventType, data: Mapping[str, Any]) -> None:
        """Add an event, written by the next ``flush``. Non-finite numbers become null, long log texts are truncated.

        Raises:
            InvalidRequest: The event is too large, or a ``metric`` without an integer ``step``.
        """
        self._buffer.add(event_type, data, now=self._now())

    def set_progress(self, step: int, *, total: int | None = None, eta_s: float | None = None) -> None:
        """Update the progress; the next ``flush`` writes it as one ``status`` event."""
        eta_s = eta_s if eta_s is None or math.isfinite(eta_s) else None
        self._update(progress=RunProgress(step=step, total=total, eta_s=eta_s))

    def add_prompt(self, ref: str) -> None:
        """Add a prompt version that the run created, unless it was added before; the next ``flush`` writes it."""
        with self._pending_lock:
            if ref not in self._pending.prompts:
                self._pending = replace(self._pending, prompts=(*self._pending.prompts, ref))
                self._is_emitted = False

    def flush(self) -> None:
        """Write buffered events to the log; no write if there are none."""
        self._flush(use_reserve=False)

    def require_current(self) -> None:
        """Raise StaleAttempt unless this attempt is current; also updates ``cancel_requested``."""
        with self._write_lock:
            self._read_log()
            self._require_current()

    @property
    def cancel_requested(self) -> bool:
        """Whether cancellation was requested, as of the last read of the log."""
        return self._head.state.cancel_requested

    def put_output(self, path: str, data: bytes | Path) -> Output:
        """Store ``data`` (bytes or a local file) as ``path``, replacing an existing output.

        Raises:
            InvalidRequest: The path is invalid.
        """
        self.require_current()
        return self._outputs.put(path, data)

    def read_output(self, path: str) -> bytes | None:
        """An output of this or an earlier attempt, or None; raises DamagedArtifact."""
        try:
            return self._outputs.read(path)
        except NotFound:
            return None

    def save_checkpoint(self, files: Mapping[str, bytes | Path]) -> None:
        """Save ``files`` as the newest checkpoint, atomically; the previous one is kept."""
        self.require_current()
        with self._checkpoint_lock:
            self._checkpoints.save(files, attempt=self.attempt)
        if not self._pending.has_checkpoint:
            self._update(has_checkpoint=True)

    def load_checkpoint(self) -> dict[str, bytes] | None:
        """The newest intact checkpoint of any attempt, or None."""
        return self._checkpoints.load()

    def finish(
        self, status: EndStatus, *, metrics: Mapping[str, float] | None = None, error: str | None = None
    ) -> None:
        """End the run: flush, then write the final state and the ``done`` event together.

        Can be retried with the same arguments after Unavailable. Non-finite metrics are dropped with a warning.
        """
        if status not in ENDED:
            raise InvalidRequest(f"The final status of a run is one of {', '.join(sorted(ENDED))}; got {status!r}.")
        with self._write_lock:
            if self._has_set(status):
                return
            self._require_current()
            finite = self._finite(metrics or {})
            # On a full disk the end is more important than the last events.
            with suppress(StoreFull):
                self._flush(use_reserve=True)
            self._append(
                lambda: end(self._state(), status, metrics=finite, error=error, now=self._now()), use_reserve=True
            )
            self._update_hints()

    def release(self, reason: str) -> None:
        """Return the run to the queue for another worker, without counting a death. Can be retried.

        A run with a cancellation request is cancelled instead.
        """
        with self._write_lock:
            if self._has_set("queued", "cancelled"):
                return
            with suppress(StoreFull):
                self._flush(use_reserve=True)
            self._append(lambda: release(self._state(), reason=reason, now=self._now()), use_reserve=True)
            self._update_hints()

    def _flush(self, *, use_reserve: bool) -> None:
        with self._write_lock:
            self._emit_status()
            while self._buffer.first():
                self._append(lambda: Change(state=self._state(), events=self._buffer.first()), use_reserve=use_reserve)

    def _update(self, **changed: Any) -> None:
        with self._pending_lock:
            self._pending = replace(self._pending, **changed)
            self._is_emitted = False

    def _emit_status(self) -> None:
        with self._pending_lock:
            has_update, self._is_emitted = not self._is_emitted, True
        if has_update:
            self.emit("status", status_data(self._state()))

    def _finite(self, metrics: Mapping[str, float]) -> dict[str, float]:
        for name, value in metrics.items():
            if not math.isfinite(value):
                self.emit("log", {"level": "warning", "text": f"Metric {name} is {value}: dropped."})
        return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}

    def _state(self) -> RunState:
        pending = self._pending
        return replace(
            self._head.state,
            progress=pending.progress,
            prompts=pending.prompts,
            has_checkpoint=pending.has_checkpoint,
        )

    def _append(self, decide: Callable[[], Change], *, use_reserve: bool) -> None:
        """Append to the log, deciding again after each concurrent append."""
        while True:
            self._require_current()
            change = decide()
            if not change.events:
                # All events were already written.
                return
            chunk = Chunk(first_id=self._head.next_id, events=change.events, state=change.state, writer=self._token)
            if self._log.append(self.record.id, chunk, use_reserve=use_reserve):
                self._advance(chunk)
                return
            self._read_log()

    def _read_log(self) -> None:
        """Read the log to its end: chunks of other writers, and own writes that appeared to fail."""
        for chunk in self._log.following(self.record.id, self._head):
            if chunk.writer == self._token:
                self._advance(chunk)
            else:
                self._head = chunk

    def _advance(self, chunk: Chunk) -> None:
        """Advance past a chunk of this writer and drop its events from the buffer."""
        self._head = chunk
        self._buffer.drop(len(chunk.events))
        self._n_unhinted += 1
        if self._n_unhinted >= _HINT_EVERY:
            self._log.hint(self.record.id, chunk)
            self._n_unhinted = 0

    def _has_set(self, *statuses: str) -> bool:
        """Whether this writer has already set one of these statuses."""
        self._read_log()
        return self._head.writer == self._token and self._head.state.status in statuses

    def _update_hints(self) -> None:
        """Update the hint, the changes and the index of unfinished runs; all are optional."""
        self._log.hint(self.record.id, self._head)
        if self._changes.note(self.record, self._head) and self._head.state.has_ended:
            self._index.forget(self.record.id, queued_id=self._head.state.queued_id)

    def _require_current(self) -> None:
        state = self._head.state
        if state.attempts != self.attempt:
            raise StaleAttempt(
                f"Attempt {self.attempt} at run {self.record.id} was replaced by attempt {state.attempts}."
            )
        if state.status != "running":
            raise StaleAttempt(f"Attempt {self.attempt} at run {self.record.id} is over: the run is {state.status}.")

    def _now(self) -> str:
        return write_time(self._clock())
