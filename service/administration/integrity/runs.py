"""Check of runs: the log is complete, and hints agree with it."""

from __future__ import annotations

from collections.abc import Iterator

from service.administration.integrity.problems import Problem, Repair
from service.administration.inventory import Inventory
from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import ArtifactStore
from service.store.runs.expiry import RunExpiry
from service.store.runs.ids import is_run_id
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk, RunState
from service.store.runs.summaries import RunSummaries
from service.store.runs.unfinished import UnfinishedRuns

_RESTORE = "restore the file from a backup"


class RunChecks:
    """Checks the runs of a store.

    Args:
        artifacts: The store.
        inventory: A listing of it.
        clock: Current time.
    """

    def __init__(self, artifacts: ArtifactStore, *, inventory: Inventory, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._rows = RunSummaries(artifacts)
        self._log = RunLog(artifacts)
        self._index = UnfinishedRuns(artifacts)
        self._expiry = RunExpiry(artifacts, clock=clock)
        self._inventory = inventory

    def check(self) -> Iterator[Problem]:
        """Problems of all runs. Damaged manifests are problems of the artifact check."""
        for run_id in self._inventory.names("runs"):
            # Read again: the run may have changed, or been deleted, meanwhile.
            if is_run_id(run_id) and list(self._check(run_id)):
                yield from self._check(run_id)

    def _check(self, run_id: str) -> Iterator[Problem]:
        try:
            self._rows.record(run_id)
        except (NotFound, DamagedArtifact):
            return
        first_ids = self._log.first_ids(run_id)
        chunks = self._chunks(run_id, first_ids)
        yield from self._check_chain(run_id, chunks)
        last = chunks[first_ids[-1]] if first_ids else None
        if isinstance(last, Chunk):
            yield from self._check_hint(run_id, last)
            yield from self._check_index(run_id, last.state)

    def _chunks(self, run_id: str, first_ids: list[int]) -> dict[int, Chunk | DamagedArtifact]:
        found: dict[int, Chunk | DamagedArtifact] = {}
        for first_id in first_ids:
            try:
                chunk = self._log.at(run_id, first_id)
            except DamagedArtifact as error:
                found[first_id] = error
                continue
            if chunk is not None:
                found[first_id] = chunk
            else:
                found[first_id] = DamagedArtifact(f"run {run_id} is damaged: events from {first_id} are missing.")
        return found

    def _check_chain(self, run_id: str, chunks: dict[int, Chunk | DamagedArtifact]) -> Iterator[Problem]:
        folder = f"runs/{run_id}/events"
        if not chunks:
            yield Problem(key=folder, what=f"run {run_id} is damaged: its events are missing.", advice=_RESTORE)
            return
        has_expired = any(part.part == "events" for part in self._expiry.parts_of(run_id))
        expected: int | None = None if has_expired else 1
        for first_id, chunk in chunks.items():
            key = f"{folder}/{first_id:010d}.json"
            if expected is not None and first_id < expected and isinstance(chunk, Chunk) and chunk.next_id <= expected:
                continue  # contained in a merged chunk: the folding of this log was interrupted
            if expected not in (None, first_id):
                what = f"run {run_id} is damaged: events from {expected} to {first_id - 1} are missing."
                yield Problem(key=key, what=what, advice=_RESTORE)
            if isinstance(chunk, DamagedArtifact):
                is_last = first_id == max(chunks)
                advice = f"{_RESTORE}, or delete the run" if is_last else f"{_RESTORE}; the other events are served"
                yield Problem(key=key, what=chunk.detail, advice=advice)
                # The number of its events is unknown.
                expected = None
            else:
                expected = chunk.next_id

    def _check_hint(self, run_id: str, last: Chunk) -> Iterator[Problem]:
        key = f"runs/{run_id}/state.json"
        try:
            record = self._artifacts.get_record(key, label=f"the hint of run {run_id}")
        except DamagedArtifact:
            record = {}
        # A hint may be old, but the chunk that it names exists.
        if record is None or self._names_a_chunk(run_id, record.get("first_id")):
            return

        def perform() -> None:
            self._log.hint(run_id, last)

        yield Problem(
            key=key,
            what=f"the hint where the log of run {run_id} ends is damaged or names no event.",
            advice="run fsck --repair; until then reading the run is slower",
            repair=Repair(done="hint written", perform=perform, cures=True),
        )

    def _names_a_chunk(self, run_id: str, first_id: object) -> bool:
        try:
            return isinstance(first_id, int) and self._log.at(run_id, first_id) is not None
        except DamagedArtifact:
            return True  # a problem of its own

    def _check_index(self, run_id: str, state: RunState) -> Iterator[Problem]:
        if state.has_ended or (run_id, state.queued_id) in set(self._index.entries()):
            return

        def perform() -> None:
            self._index.note(run_id, queued_id=state.queued_id)

        yield Problem(
            key=f"runs-unfinished/{run_id}.{state.queued_id}.json",
            what=f"run {run_id} is {state.status} and not in the index of unfinished runs, so that no worker would recover it.",
            advice="run fsck --repair",
            repair=Repair(done="index entry written", perform=perform, cures=True),
        )
