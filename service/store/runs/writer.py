"""One attempt at a run, as its worker writes it: events, progress, checkpoints, outputs, and the end.

Only the newest attempt of a run that is running can write to its log. What the worker says is kept in memory until
``flush`` puts it there; a flush that the store refused may be tried again, and nothing of it comes twice.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptatlas.types.runs import EventType

from service.errors import InvalidRequest, NotFound
from service.store.artifacts.clock import Clock, write_time
from service.store.artifacts.store import ArtifactStore
from service.store.runs.checkpoints import Checkpoints
from service.store.runs.event_buffer import EventBuffer
from service.store.runs.log import RunLog
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
    """The right to write one attempt; made by ``RunStore.claim``. Safe to share between threads.

    Every call that writes raises StaleAttempt once another attempt has taken over, this one was given up for dead, or the run has
    ended; and Unavailable when the store refuses, for instance because the disk is full, after which it may be tried again.
    ``emit``, ``set_progress`` and ``add_prompt`` only note something, and never wait for those that write.

    Attributes:
        record: the run's.
        attempt: counts from 1.
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
        self._buffer = EventBuffer()
        # The first lock is held while the log is written, the last only for a moment; they are taken in this order.
        self._writing = threading.RLock()
        self._saving = threading.Lock()
        self._noting = threading.Lock()
        self._head = claimed
        self._n_unhinted = 0
        self._noted = claimed.state
        self._is_noted = True

    def emit(self, event_type: EventType, data: Mapping[str, Any]) -> None:
        """Say an event; the next ``flush`` keeps it. Numbers that are not finite become null, long log texts are cut.

        Raises:
            InvalidRequest: it is larger than an event may be, or a ``metric`` without a whole number ``step``.
        """
        self._buffer.add(event_type, data, now=self._now())

    def set_progress(self, step: int, *, total: int | None = None, eta_s: float | None = None) -> None:
        """Say how far the run is; the next ``flush`` keeps it, as one ``status`` event."""
        eta_s = eta_s if eta_s is None or math.isfinite(eta_s) else None
        self._note(progress=RunProgress(step=step, total=total, eta_s=eta_s))

    def add_prompt(self, ref: str) -> None:
        """Note a prompt version that the run has made; the next ``flush`` keeps it. Fine if it is noted already."""
        with self._noting:
            if ref not in self._noted.prompts:
                self._noted = replace(self._noted, prompts=(*self._noted.prompts, ref))
                self._is_noted = False

    def flush(self) -> None:
        """Put into the log what was said since the last time; when that is nothing, nothing is written."""
        with self._writing:
            self._tell_noted()
            while self._buffer.first():
                self._append(lambda: Change(state=self._state(), events=self._buffer.first()))

    def require_current(self) -> None:
        """Raise StaleAttempt unless this attempt may still write; afterwards ``cancel_requested`` is up to date."""
        with self._writing:
            self._follow()
            self._require_current()

    @property
    def cancel_requested(self) -> bool:
        """Whether the run was asked to stop, as of the last look at the store."""
        return self._head.state.cancel_requested

    def put_output(self, path: str, data: bytes | Path) -> Output:
        """Keep ``data`` (bytes, or a file on this machine) as ``path``; the same path again replaces it.

        Raises:
            InvalidRequest: no output may be called so.
        """
        self.require_current()
        return self._outputs.put(path, data)

    def read_output(self, path: str) -> bytes | None:
        """What ``put_output`` kept, in this or an earlier attempt; None for nothing; DamagedArtifact."""
        try:
            return self._outputs.read(path)
        except NotFound:
            return None

    def save_checkpoint(self, files: Mapping[str, bytes | Path]) -> None:
        """Keep ``files`` as the newest checkpoint, whole or not at all; the one before stays."""
        self.require_current()
        with self._saving:
            self._checkpoints.save(files, attempt=self.attempt)
        if not self._noted.has_checkpoint:
            self._note(has_checkpoint=True)

    def load_checkpoint(self) -> dict[str, bytes] | None:
        """The newest whole checkpoint of any attempt, None if there is none."""
        return self._checkpoints.load()

    def finish(
        self, status: EndStatus, *, metrics: Mapping[str, float] | None = None, error: str | None = None
    ) -> None:
        """End the run: what was said before is kept, then the final state and the ``done`` event in one write.

        Fine to call again after Unavailable, with the same arguments, and when this very end is kept already. Metrics
        that are not finite are left out, with a warning.
        """
        if status not in ENDED:
            raise InvalidRequest(f"A run ends as one of {', '.join(sorted(ENDED))}; this is {status!r}.")
        with self._writing:
            if self._has_left(status):
                return
            self._require_current()
            finite = self._finite(metrics or {})
            self.flush()
            self._append(lambda: end(self._state(), status, metrics=finite, error=error, now=self._now()))
            self._leave()

    def release(self, reason: str) -> None:
        """Give the run back, for another worker to go on with; this counts as no death. It may be called again.

        A run that was asked to stop is cancelled instead.
        """
        with self._writing:
            if self._has_left("queued", "cancelled"):
                return
            self.flush()
            self._append(lambda: release(self._state(), reason=reason, now=self._now()))
            self._leave()

    def _note(self, **changed: Any) -> None:
        with self._noting:
            self._noted = replace(self._noted, **changed)
            self._is_noted = False

    def _tell_noted(self) -> None:
        with self._noting:
            is_news, self._is_noted = not self._is_noted, True
        if is_news:
            self.emit("status", status_data(self._state()))

    def _finite(self, metrics: Mapping[str, float]) -> dict[str, float]:
        for name, value in metrics.items():
            if not math.isfinite(value):
                self.emit("log", {"level": "warning", "text": f"Metric {name} is {value}: left out."})
        return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}

    def _state(self) -> RunState:
        noted = self._noted
        return replace(
            self._head.state,
            progress=noted.progress,
            prompts=noted.prompts,
            has_checkpoint=noted.has_checkpoint,
        )

    def _append(self, decide: Callable[[], Change]) -> None:
        """Lengthen the log, deciding anew each time that another was faster."""
        while True:
            self._require_current()
            change = decide()
            if not change.events:
                # All of it turned out to be there already.
                return
            chunk = Chunk(first_id=self._head.next_id, events=change.events, state=change.state, writer=self._token)
            if self._log.append(self.record.id, chunk):
                self._take(chunk)
                return
            self._follow()

    def _follow(self) -> None:
        """Follow the log to its end, past what others wrote and what of this writer was thought to have failed."""
        for chunk in self._log.following(self.record.id, self._head):
            if chunk.writer == self._token:
                self._take(chunk)
            else:
                self._head = chunk

    def _take(self, chunk: Chunk) -> None:
        """Go on behind a chunk of this writer."""
        self._head = chunk
        self._buffer.drop(len(chunk.events))
        self._n_unhinted += 1
        if self._n_unhinted >= _HINT_EVERY:
            self._log.hint(self.record.id, chunk)
            self._n_unhinted = 0

    def _has_left(self, *statuses: str) -> bool:
        """Whether this writer has already brought the run to one of these statuses."""
        self._follow()
        return self._head.writer == self._token and self._head.state.status in statuses

    def _leave(self) -> None:
        """Help those who look later; nothing depends on it."""
        self._log.hint(self.record.id, self._head)
        if self._head.state.has_ended:
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
