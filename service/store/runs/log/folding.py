"""Folding of the logs of ended runs: many chunks become few, so that a long run does not keep a file for each second.

A folded chunk has the events of consecutive chunks, the state after the last one, and the key of the first one, so it is a chunk
like any other. It is written before the others are removed; meanwhile readers skip the chunks that it contains. The last chunk
stays as it is: its key decides who may append.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from service.errors import DamagedArtifact
from service.store.artifacts.clock import Clock, read_time, utc_now
from service.store.artifacts.sealed_records import canonical_json
from service.store.artifacts.store import ArtifactStore
from service.store.index.changes import Changes, minute_of
from service.store.index.entries import RunEntry, entry_in
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk

AFTER: Final = timedelta(hours=24)
"""From the end of a run. Longer than any process follows a run from an old chunk without reading its head."""

MAX_BYTES: Final = 4 << 20
"""Of a folded chunk, which is read as a whole."""

_MARK: Final = "changes/folded.json"

_log = structlog.get_logger(__name__)


class Folding:
    """Folds the logs of runs that ended between 24 hours ago and the last call, according to the announced changes.

    Args:
        artifacts: The store.
        clock: Determines what is old enough.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._changes = Changes(artifacts, clock=clock)
        self._log = RunLog(artifacts)
        self._clock = clock

    def run(self) -> int:
        """Fold; returns the number of chunks removed. Can be repeated, and done by two processes at once."""
        until = minute_of(self._clock() - AFTER)
        n_removed = 0
        for minute in self._changes.minutes(since=self._mark()):
            if minute >= until:
                break
            for run_id in self._ended(minute):
                n_removed += self.fold(run_id)
            self._artifacts.put_record(_MARK, {"through": minute})
        return n_removed

    def fold(self, run_id: str) -> int:
        """Fold the log of one run if it ended long enough ago; returns the number of chunks removed. A damaged log stays."""
        if not self._artifacts.has_manifest(f"runs/{run_id}"):
            return 0  # deleted meanwhile
        try:
            head = self._log.head(run_id)
            if not head.state.has_ended or not self._is_old(head):
                return 0
            numbers = [number for number in self._log.first_ids(run_id) if number < head.first_id]
            return sum(self._replace(run_id, group, numbers=numbers) for group in self._groups(run_id, numbers))
        except DamagedArtifact as error:
            _log.warning("the log of a run is not folded", run_id=run_id, reason=error.detail)
            return 0

    def _groups(self, run_id: str, numbers: Sequence[int]) -> Iterator[Sequence[Chunk]]:
        """Consecutive chunks that become one. A gap, such as a damaged chunk, ends a group, so that it can be seen."""
        group: list[Chunk] = []
        n_bytes = 0
        for chunk in self._log.read(run_id, numbers):
            size = len(canonical_json(chunk.to_json()))
            if not group or chunk.first_id != group[-1].next_id or n_bytes + size > MAX_BYTES:
                yield group
                group, n_bytes = [], 0
            group.append(chunk)
            n_bytes += size
        yield group

    def _replace(self, run_id: str, group: Sequence[Chunk], *, numbers: Sequence[int]) -> int:
        """Make one chunk of a group. Returns the number of chunks removed, those of an interrupted folding among them."""
        if not group:
            return 0
        inside = [number for number in numbers if group[0].first_id < number < group[-1].next_id]
        if len(group) > 1:
            events = tuple(event for chunk in group for event in chunk.events)
            self._log.replace(run_id, replace(group[-1], first_id=group[0].first_id, events=events))
        self._log.drop(run_id, inside)
        return len(inside)

    def _ended(self, minute: str) -> set[str]:
        """Runs that, according to the changes of a minute, may have ended."""
        entries = map(entry_in, self._changes.files(minute))
        runs = (entry for entry in entries if isinstance(entry, RunEntry))
        return {entry.run_id for entry in runs if entry.status not in ("queued", "running")}

    def _is_old(self, head: Chunk) -> bool:
        ended_at = head.state.ended_at
        return ended_at is not None and self._clock() - read_time(ended_at) >= AFTER

    def _mark(self) -> str:
        """The last minute that was folded; empty before the first one."""
        try:
            record = self._artifacts.get_record(_MARK, label="the mark of the folding of logs")
        except DamagedArtifact:
            return ""
        through = None if record is None else record.get("through")
        return through if isinstance(through, str) else ""
