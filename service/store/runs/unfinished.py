"""Which runs may be unfinished, so that whoever looks after them need not read every run there ever was.

runs-unfinished/{id}.{event id}.json    set before a run is queued, removed once it has ended

An entry is a hint: it may outlive its run's end, never come after its beginning. It carries the id of the event by which
the run was queued, so that removing the entry of an old life does not touch that of a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from service.errors import AtlasError
from service.store.artifacts.store import ArtifactStore

_FOLDER = "runs-unfinished"


class UnfinishedRuns:
    """The entries in an artifact store."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def note(self, run_id: str, *, queued_id: int) -> None:
        """Enter a run that is about to be queued by the event with this id."""
        self._artifacts.put_record(_key(run_id, queued_id), {"run_id": run_id})

    def forget(self, run_id: str, *, queued_id: int) -> None:
        """Remove an entry. Worth an effort, not an error: whoever meets it later removes it."""
        with suppress(AtlasError):
            self._artifacts.remove_record(_key(run_id, queued_id))

    def entries(self) -> Iterator[tuple[str, int]]:
        """Run ids and the ids of the events by which they were queued, oldest run first."""
        for name in self._artifacts.names(_FOLDER):
            run_id, _, queued_id = name.removesuffix(".json").partition(".")
            if queued_id.isdecimal():
                yield run_id, int(queued_id)


def _key(run_id: str, queued_id: int) -> str:
    return f"{_FOLDER}/{run_id}.{queued_id}.json"
