"""Index of possibly unfinished runs, so that the reconciler need not read all runs.

runs-unfinished/{id}.{event id}.json    written before a run is queued, removed after it has ended

An entry may outlive the end of its run, but is never missing for an unfinished run. Its key includes the id of the event
that queued the run, so that removing an outdated entry does not affect the entry of a resumed run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from service.errors import AtlasError
from service.store.artifacts.store import ArtifactStore
from service.store.runs.ids import is_run_id, made_at
from service.store.runs.log.chain import RunLog

_FOLDER = "runs-unfinished"
_MAX_CREATION_TIME = timedelta(hours=1)

UnfinishedEntry = tuple[str, int]
"""Id of a run, and the id of the event that queued it."""


class UnfinishedRuns:
    """The index in an artifact store."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def note(self, run_id: str, *, queued_id: int) -> None:
        """Add a run that is about to be queued by the event with this id."""
        self._artifacts.put_record(unfinished_key(run_id, queued_id), {"run_id": run_id})

    def forget(self, run_id: str, *, queued_id: int) -> None:
        """Remove an entry. Failures are ignored, since ``RunStore.unfinished`` removes outdated entries."""
        with suppress(AtlasError):
            self._artifacts.remove_record(unfinished_key(run_id, queued_id))

    def remove_failed_creation(self, run_id: str, *, queued_id: int, log: RunLog, now: datetime) -> None:
        """Remove the entry and the log of a run whose creation crashed; no effect while it may still be created."""
        if is_run_id(run_id) and now - made_at(run_id) > _MAX_CREATION_TIME:
            log.drop_first(run_id)
            self.forget(run_id, queued_id=queued_id)

    def entries(self) -> Iterator[UnfinishedEntry]:
        """Run ids and the ids of the events that queued them, oldest run first."""
        for name in self._artifacts.names(_FOLDER):
            run_id, _, queued_id = name.removesuffix(".json").partition(".")
            if queued_id.isdecimal():
                yield run_id, int(queued_id)


def unfinished_key(run_id: str, queued_id: int) -> str:
    """Key of the entry of a run."""
    return f"{_FOLDER}/{run_id}.{queued_id}.json"
