"""Summaries of runs: records and states of many runs, with batched reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from itertools import islice

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import log_damage
from service.store.runs.checkpoints import runs_with_checkpoints
from service.store.runs.ids import is_run_id
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk, RunRecord, RunState

Row = tuple[RunRecord, RunState]

_BATCH_SIZE = 50
_FIELDS = [item.name for item in fields(RunRecord)]


class RunSummaries:
    """Reads records and states of runs; stateless."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._log = RunLog(artifacts)

    def record(self, run_id: str) -> RunRecord:
        """Record of a run; raises NotFound or DamagedArtifact."""
        found = self._records([run_id] if is_run_id(run_id) else []).get(run_id)
        if isinstance(found, DamagedArtifact):
            raise found
        if found is None:
            raise NotFound(f"There is no run {run_id[:80]!r}.")
        return found

    def row(self, run_id: str) -> Row:
        """Record and state of a run; raises NotFound or DamagedArtifact."""
        record = self.record(run_id)
        ((_, state),) = self._complete([(record, self._log.head(run_id).state)])
        return record, state

    def rows(self, run_ids: Iterable[str]) -> Iterator[Row]:
        """Records and states of the existing runs, in the order given; damaged ones are logged and skipped."""
        remaining = (run_id for run_id in run_ids if is_run_id(run_id))
        while batch := list(islice(remaining, _BATCH_SIZE)):
            yield from self._batch(batch)

    def _batch(self, run_ids: list[str]) -> Iterator[Row]:
        rows: list[Row] = []
        for _, found in self.heads(run_ids):
            if isinstance(found, DamagedArtifact):
                log_damage(found)
            else:
                rows.append((found[0], found[1].state))
        yield from self._complete(rows)

    def heads(self, run_ids: list[str]) -> Iterator[tuple[str, tuple[RunRecord, Chunk] | DamagedArtifact]]:
        """Ids, and records with the last chunks of the logs, of the existing runs, in the order given."""
        records = self._records(run_ids)
        intact = [run_id for run_id in run_ids if isinstance(records.get(run_id), RunRecord)]
        heads = self._log.heads(intact)
        for run_id in run_ids:
            # A record may be missing while the run is being created.
            record, head = records.get(run_id), heads.get(run_id)
            damage = next((found for found in (record, head) if isinstance(found, DamagedArtifact)), None)
            if damage is not None:
                yield run_id, damage
            elif isinstance(record, RunRecord) and isinstance(head, Chunk):
                yield run_id, (record, head)

    def _records(self, run_ids: list[str]) -> dict[str, RunRecord | DamagedArtifact]:
        labels = {run_folder(run_id): f"run {run_id}" for run_id in run_ids}
        found = self._artifacts.get_many(labels)
        return {
            run_id: _record_in(found[folder])
            for run_id, folder in zip(run_ids, labels, strict=True)
            if folder in found and not _is_deleted(found[folder])
        }

    def _complete(self, rows: list[Row]) -> Iterator[Row]:
        # A worker may have died after its first checkpoint, before it logged it.
        unsure = [record.id for record, state in rows if state.attempts and not state.has_checkpoint]
        found = runs_with_checkpoints(self._artifacts, unsure)
        for record, state in rows:
            yield record, replace(state, has_checkpoint=True) if record.id in found else state


def run_folder(run_id: str) -> str:
    """Key of the folder of a run."""
    return f"runs/{run_id}"


def _is_deleted(found: Artifact | DamagedArtifact) -> bool:
    return isinstance(found, Artifact) and found.retired


def _record_in(found: Artifact | DamagedArtifact) -> RunRecord | DamagedArtifact:
    if isinstance(found, DamagedArtifact):
        return found
    try:
        # Fields of later versions are ignored.
        return RunRecord(**{name: found.metadata[name] for name in _FIELDS if name in found.metadata})
    except TypeError:
        return DamagedArtifact(f"{found.label} is damaged: its manifest has missing or unknown fields.")
