"""Changes that lists depend on, as names of small files, so that an index learns of them without reading all manifests.

changes/20261130T0912/prompt,qa.json                                    a name; written before its first version
changes/20261130T0912/run,run-1k10t9g4v3edf5mv8,42,tune,succeeded.json  a status of a run, from event 42 on
changes/20261130T0912/tag,run-1k10t9g4v3edf5mv8,pilot.json              a tag of a run; written before it has the tag
changes/epoch.json                                                      which indexes belong to this store

Folders are minutes by the clock of the writer. Everything is in the names, so a listing is enough. Entries can be read in any
order and repeatedly: of several for one run, the one with the largest event id counts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from service.errors import AtlasError, DamagedArtifact
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import ArtifactStore
from service.store.index.entries import Entry, file_of

FOLDER = "changes"

KEPT = timedelta(hours=48)
"""How long changes are kept. An index that has read none for this long is rebuilt."""

_EPOCH = f"{FOLDER}/epoch.json"
_FORM = "%Y%m%dT%H%M"
_MINUTE = re.compile(r"\d{8}T\d{4}")


class Changes:
    """Writes and lists the changes in an artifact store; stateless.

    Args:
        artifacts: The store.
        clock: Determines the folder.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._clock = clock

    def note(self, entry: Entry) -> bool:
        """Announce an entry; returns False if the store failed. Lists from the files are complete in any case."""
        try:
            self._artifacts.put_record(f"{FOLDER}/{minute_of(self._clock())}/{file_of(entry)}", {})
        except AtlasError:
            return False
        return True

    def minutes(self, *, since: str) -> list[str]:
        """Names of the folders from the minute ``since`` on, in order."""
        return [name for name in self._artifacts.names(FOLDER) if name >= since and _MINUTE.fullmatch(name)]

    def files(self, minute: str) -> list[str]:
        """Names of the files of a minute; see ``entry_in``."""
        return self._artifacts.names(f"{FOLDER}/{minute}")

    def sweep(self) -> int:
        """Remove the minutes older than :data:`KEPT`; returns their number."""
        n_removed = 0
        for minute in self._over():
            self._artifacts.remove_folder(f"{FOLDER}/{minute}")
            n_removed += 1
        return n_removed

    def epoch(self) -> str | None:
        """The token of this store's indexes; None if there is none, or it is damaged."""
        try:
            record = self._artifacts.get_record(_EPOCH, label="the epoch of the index")
        except DamagedArtifact:
            return None
        token = None if record is None else record.get("token")
        return token if isinstance(token, str) else None

    def require_epoch(self) -> str:
        """``epoch()``, created if there is none."""
        while (found := self.epoch()) is None:
            is_created = self._artifacts.create_record(_EPOCH, {"token": secrets.token_hex(8)})
            if not is_created and self.epoch() is None:
                # It exists and is damaged.
                self._artifacts.remove_record(_EPOCH)
        return found

    def end_epoch(self) -> None:
        """Let every index of this store be rebuilt, because files were written without a note."""
        self._artifacts.remove_record(_EPOCH)

    def _over(self) -> Iterator[str]:
        before = minute_of(self._clock() - KEPT)
        for name in self._artifacts.names(FOLDER):
            if _MINUTE.fullmatch(name) and name < before:
                yield name


def minute_of(moment: datetime) -> str:
    """Name of the folder of a moment; names sort like times."""
    return moment.astimezone(timezone.utc).strftime(_FORM)


def moment_of(minute: str) -> datetime:
    """Begin of a minute, the inverse of ``minute_of``; ValueError for any other text."""
    return datetime.strptime(minute, _FORM).replace(tzinfo=timezone.utc)
