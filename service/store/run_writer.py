"""One attempt at a run, as its worker writes it: events, progress, checkpoints, outputs, and the end.

Only the newest attempt of a run that is running can write. What the worker says is kept here until ``flush`` puts it into
the run's log; a flush that the store refused may be tried again, and nothing of it comes twice.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptatlas.types.runs import EventType

from service.errors import InvalidRequest, NotFound
from service.store.artifacts import ArtifactStore
from service.store.records import canonical_json
from service.store.run_checkpoints import Checkpoints
from service.store.run_index import UnfinishedRuns
from service.store.run_log import RunLog
from service.store.run_outputs import Outputs
from service.store.run_records import (
    ENDED,
    Chunk,
    EndStatus,
    Fenced,
    NewEvent,
    Output,
    RunProgress,
    RunRecord,
    RunState,
    cut,
    done_data,
    status_data,
    without_infinities,
)
from service.store.times import Clock, write_time

MAX_EVENT_BYTES = 65_536
MAX_CHUNK_EVENTS = 500
MAX_CHUNK_BYTES = 1_048_576

__all__ = ["Fenced", "RunWriter"]

_HINT_EVERY = 8


class RunWriter:
    """The right to write one attempt; made by ``RunStore.claim``. Safe to share between threads.

    Every call that writes raises Fenced once another attempt has taken over, this one was given up for dead, or the run has
    ended; and Unavailable when the store refuses, for instance because the disk is full, after which it may be tried again.
    """

    def __init__(self, artifacts: ArtifactStore, *, record: RunRecord, claimed: Chunk, clock: Clock) -> None:
        self.record = record
        self.attempt = claimed.state.attempts
        self._log = RunLog(artifacts)
        self._index = UnfinishedRuns(artifacts)
        self._checkpoints = Checkpoints(artifacts, run_id=record.id)
        self._outputs = Outputs(artifacts, run_id=record.id)
        self._clock = clock
        self._token = secrets.token_hex(8)
        self._lock = threading.RLock()
        self._head = claimed
        self._n_unhinted = 0
        self._buffer: list[tuple[NewEvent, int]] = []
        self._progress = claimed.state.progress
        self._prompts = claimed.state.prompts
        self._has_checkpoint = claimed.state.has_checkpoint
        self._is_changed = False

    def emit(self, event_type: EventType, data: Mapping[str, Any]) -> None:
        """Say an event; it is kept by the next ``flush``. Numbers that are not finite become null.

        Raises:
            InvalidRequest: it is over MAX_EVENT_BYTES, after the text of a ``log`` was cut.
        """
        kept = without_infinities(data)
        if isinstance(kept.get("text"), str):
            kept["text"] = cut(kept["text"])
        n_bytes = len(canonical_json(kept))
        if n_bytes > MAX_EVENT_BYTES:
            raise InvalidRequest(f"An event has at most {MAX_EVENT_BYTES} bytes of JSON; this one has {n_bytes}.")
        self._say(event_type, kept, n_bytes=n_bytes)

    def set_progress(self, step: int, *, total: int | None = None, eta_s: float | None = None) -> None:
        """Say how far the run is; the next ``flush`` keeps it, as one ``status`` event."""
        eta_s = eta_s if eta_s is None or math.isfinite(eta_s) else None
        with self._lock:
            self._progress = RunProgress(step=step, total=total, eta_s=eta_s)
            self._is_changed = True

    def add_prompt(self, ref: str) -> None:
        """Note a prompt version that the run has made; the next ``flush`` keeps it. Fine if it is noted already."""
        with self._lock:
            if ref not in self._prompts:
                self._prompts = (*self._prompts, ref)
                self._is_changed = True

    def flush(self) -> None:
        """Put into the log what was said since the last time; nothing to do is no write."""
        with self._lock:
            if self._is_changed:
                self.emit("status", status_data(self._state()))
                self._is_changed = False
            while self._buffer:
                self._write(self._fitting(), state=self._state())

    def check_fence(self) -> None:
        """Raise Fenced unless this attempt may still write; afterwards ``cancel_requested`` is up to date."""
        with self._lock:
            self._look()

    @property
    def cancel_requested(self) -> bool:
        """Whether the run was asked to stop, as of the last look at the store."""
        return self._head.state.cancel_requested

    def put_output(self, path: str, data: bytes | Path) -> Output:
        """Keep ``data`` (bytes, or a file on this machine) as ``path``; the same path again replaces it."""
        self.check_fence()
        return self._outputs.put(path, data)

    def read_output(self, path: str) -> bytes | None:
        """What ``put_output`` kept, in this or an earlier attempt; None for nothing; DamagedArtifact."""
        try:
            return self._outputs.read(path)
        except NotFound:
            return None

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        """Keep ``files`` as the newest checkpoint, whole or not at all; the one before stays."""
        self.check_fence()
        self._checkpoints.save(files, attempt=self.attempt)
        with self._lock:
            self._is_changed = self._is_changed or not self._has_checkpoint
            self._has_checkpoint = True

    def load_checkpoint(self) -> dict[str, bytes] | None:
        """The newest whole checkpoint of any attempt, None if there is none."""
        return self._checkpoints.load()

    def finish(
        self, status: EndStatus, *, metrics: Mapping[str, float] | None = None, error: str | None = None
    ) -> None:
        """End the run: what was said before, the final state and the ``done`` event, the last two in one write.

        Fine to call again after Unavailable, with the same arguments; fine when this very end is kept already. Metrics
        that are not finite are left out, with a warning.
        """
        if status not in ENDED:
            raise InvalidRequest(f"A run ends as one of {', '.join(sorted(ENDED))}; this is {status!r}.")
        with self._lock:
            self._follow()
            if self._head.writer == self._token and self._head.state.status == status:
                return
            finite = self._finite(metrics or {})
            self.flush()
            self._end(status, metrics=finite, error=None if error is None else cut(error))

    def release(self, reason: str) -> None:
        """Give the run back, to be gone on with by another worker; it does not count as a death.

        A run that was asked to stop is cancelled instead.
        """
        with self._lock:
            self.flush()
            self._look()
            if self.cancel_requested:
                self._end("cancelled", metrics={}, error=None)
                return
            self.emit("log", {"level": "info", "text": reason})
            state = replace(self._state(), status="queued")
            self.emit("status", status_data(state))
            self._write_last(state)

    def _say(self, event_type: EventType, data: Mapping[str, Any], *, n_bytes: int = 0) -> None:
        with self._lock:
            self._buffer.append((NewEvent(type=event_type, time=self._now(), data=data), n_bytes))

    def _end(self, status: EndStatus, *, metrics: Mapping[str, float], error: str | None) -> None:
        state = replace(
            self._state(),
            status=status,
            metrics=dict(metrics),
            error=error,
            cancel_requested=False,
            ended_at=self._now(),
        )
        self._say("done", done_data(state))
        self._write_last(state)
        self._index.forget(self.record.id, queued_id=state.queued_id)

    def _write_last(self, state: RunState) -> None:
        """Write all that is buffered in one chunk, or keep nothing of it."""
        try:
            self._write(len(self._buffer), state=state)
        finally:
            self._buffer.clear()
        self._log.hint(self.record.id, self._head)

    def _finite(self, metrics: Mapping[str, float]) -> dict[str, float]:
        for name, value in metrics.items():
            if not math.isfinite(value):
                self.emit("log", {"level": "warning", "text": f"Metric {name} is {value}: left out."})
        return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}

    def _fitting(self) -> int:
        """How many of the first buffered events one chunk may hold."""
        n_bytes = 0
        for n_events, (_, size) in enumerate(self._buffer[:MAX_CHUNK_EVENTS]):
            n_bytes += size
            if n_bytes > MAX_CHUNK_BYTES:
                return n_events
        return min(len(self._buffer), MAX_CHUNK_EVENTS)

    def _write(self, n_events: int, *, state: RunState) -> None:
        """Lengthen the log by the first ``n_events`` of the buffer, behind whatever others have written meanwhile."""
        while True:
            self._check_is_mine()
            events = tuple(event for event, _ in self._buffer[:n_events])
            chunk = Chunk(first_id=self._head.next_id, events=events, state=state, writer=self._token)
            if self._log.append(self.record.id, chunk):
                self._take(chunk)
                return
            if self._follow():
                return
            state = replace(state, cancel_requested=self.cancel_requested and not state.has_ended)

    def _look(self) -> None:
        """Follow the log to its end; Fenced when it is no longer this attempt's."""
        self._follow()
        self._check_is_mine()

    def _follow(self) -> int:
        """Follow the log to its end; how many of the buffered events turned out to be there already."""
        n_own = 0
        for chunk in self._log.following(self.record.id, self._head):
            if chunk.writer == self._token:
                # A write whose answer got lost did work.
                n_own += len(chunk.events)
                self._take(chunk)
            else:
                self._head = chunk
        return n_own

    def _take(self, chunk: Chunk) -> None:
        self._head = chunk
        del self._buffer[: len(chunk.events)]
        self._n_unhinted += 1
        if self._n_unhinted >= _HINT_EVERY:
            self._log.hint(self.record.id, chunk)
            self._n_unhinted = 0

    def _check_is_mine(self) -> None:
        state = self._head.state
        if state.attempts != self.attempt:
            raise Fenced(f"Attempt {self.attempt} at run {self.record.id} was replaced by attempt {state.attempts}.")
        if state.status != "running":
            raise Fenced(f"Attempt {self.attempt} at run {self.record.id} is over: the run is {state.status}.")

    def _state(self) -> RunState:
        return replace(
            self._head.state,
            progress=self._progress,
            prompts=self._prompts,
            has_checkpoint=self._has_checkpoint,
        )

    def _now(self) -> str:
        return write_time(self._clock())
