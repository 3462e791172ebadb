"""Index for lists: candidates in order, so that a page of a large store does not need a listing of all of it.

The index says which objects may be on a page; the files say whether they are. An object that the index has too much is therefore
left out by the reader, and one that it lacks is announced in ``changes`` before lists from the files show it, or at once after.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

from service.errors import AtlasError
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import ArtifactStore
from service.store.files.addresses import address_of
from service.store.index.changes import KEPT, Changes, minute_of, moment_of
from service.store.index.database import Dialect, IndexDatabase, IndexNotBuilt, IndexUnavailable
from service.store.index.entries import UNKNOWN, Entry, Noun, entry_in

RECENT = timedelta(minutes=1)
"""Changes of the last minute are listed for every page."""

OVERLAP = timedelta(minutes=15)
"""Further back changes are listed again at times, since writers may be slow and their clocks differ."""

OVERLAP_EVERY = timedelta(seconds=5)

_MAX_GAP = KEPT / 2
_BUILT, _READ_TO = "built", "read_to"

_log = logging.getLogger(__name__)


class StoreIndex:
    """Names and runs of a store in a database; thread-safe, and safe with other processes on the same database.

    Args:
        artifacts: The store.
        dialect: The database.
        address: Address of the store; a database may index several.
        clock: Determines which changes are recent.
    """

    def __init__(self, artifacts: ArtifactStore, *, dialect: Dialect, address: str, clock: Clock = utc_now) -> None:
        self._changes = Changes(artifacts, clock=clock)
        self.database = IndexDatabase(dialect, store=store_id(address))
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, set[str]] = {}
        self._overlap_at: datetime | None = None
        self._is_usable: bool | None = None

    def names(self, noun: Noun, *, after: str | None = None) -> Iterator[str]:
        """Names that may exist, in order of their code points; raises IndexUnavailable, also while iterating."""
        self.catch_up()
        yield from self.database.names(noun, after=after)

    def run_ids(
        self, *, kind: str | None = None, status: str | None = None, tag: str | None = None, before: str | None = None
    ) -> Iterator[str]:
        """Ids of runs that may have this kind, status and tag, in descending order; raises like ``names``."""
        self.catch_up()
        streams = [self.database.runs(kind=kind, status=status, tag=tag, before=before)]
        if not (kind is None and status is None and tag is None):
            streams.append(self.database.runs(kind=UNKNOWN, status=UNKNOWN, before=before))
        for run_id, *_ in heapq.merge(*streams, reverse=True):
            yield run_id

    def catch_up(self) -> None:
        """Read the recent changes.

        Raises:
            IndexUnavailable: The database or the store failed, or the index is not built.
        """
        with self._lock:
            try:
                self._catch_up(self._clock())
            except IndexUnavailable as error:
                self._note_state(is_usable=False, reason=error)
                raise
            except AtlasError as error:
                # The list from the files then fails with the error of the store.
                raise IndexUnavailable(error.detail) from error
            self._note_state(is_usable=True)

    def is_built(self) -> bool:
        """Whether the index can be used; raises IndexUnavailable if the database failed."""
        read_to = self.database.fact(_READ_TO)
        if read_to is None or self._clock() - moment_of(read_to) > _MAX_GAP:
            return False
        epoch = self.database.fact(_BUILT)
        return epoch is not None and epoch == self._changes.epoch()

    def begin_build(self) -> str:
        """The epoch for ``end_build``; called before the files are listed."""
        return self._changes.require_epoch()

    def end_build(self, epoch: str, *, began: datetime) -> None:
        """Mark the index as built from a listing that began at ``began``, and read the changes since."""
        with self._lock:
            # Also what was read meanwhile: the build may have overwritten it.
            self._seen.clear()
            self._read(since=began - OVERLAP)
            self.database.put_fact(_READ_TO, minute_of(began))
            self.database.put_fact(_BUILT, epoch)
            self._overlap_at = None

    def _catch_up(self, now: datetime) -> None:
        if self._overlap_at is not None and now - self._overlap_at < OVERLAP_EVERY:
            self._read(since=now - RECENT)
            return
        if not self.is_built():
            raise IndexNotBuilt("it is not built yet")
        # Another process may have read further; reading again does no harm.
        read_to = moment_of(self.database.fact(_READ_TO) or minute_of(now))
        self._read(since=min(read_to, now) - OVERLAP)
        self.database.put_fact(_READ_TO, minute_of(now))
        self._overlap_at = now

    def _read(self, *, since: datetime) -> None:
        """Add the entries of changes that this process has not read yet."""
        minutes = self._changes.minutes(since=minute_of(since))
        added: dict[str, list[str]] = {}
        for minute in minutes:
            known = self._seen.get(minute, set())
            if new := [file for file in self._changes.files(minute) if file not in known]:
                added[minute] = new
        entries: list[Entry] = [
            entry for files in added.values() for file in files if (entry := entry_in(file)) is not None
        ]
        if entries:
            self.database.put(entries)
        # After they are stored, so that a failure repeats them.
        for minute, files in added.items():
            self._seen.setdefault(minute, set()).update(files)
        oldest = minute_of(self._clock() - 2 * OVERLAP)
        for minute in [minute for minute in self._seen if minute < oldest]:
            del self._seen[minute]

    def _note_state(self, *, is_usable: bool, reason: IndexUnavailable | None = None) -> None:
        if is_usable == self._is_usable:
            return
        self._is_usable = is_usable
        if is_usable:
            _log.info("lists are read from the index")
        else:
            # Also the next use must begin with the epoch.
            self._overlap_at = None
            level = logging.INFO if isinstance(reason, IndexNotBuilt) else logging.WARNING
            _log.log(level, "lists are read from the files, the index cannot be used: %s", reason)


def store_id(address: str) -> str:
    """Identifies a store by its address, see ``addresses.address_of``."""
    return hashlib.sha256(address_of(address).encode()).hexdigest()[:16]
