"""Backup of a store to another place, and restoring it.

A backup has the layout of a store, and a mark:

backup.json     in a backup: of which store, and when it was begun and completed
restore.json    in a store that is being restored, until that is complete
"""

from __future__ import annotations

from typing import Any

from service.administration.copies.destination import CopyReport, Destination
from service.administration.copies.store_copy import StoreCopy
from service.administration.inventory import Inventory, name_of
from service.errors import Conflict, DamagedArtifact
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.sealed_records import seal, unseal
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import TEMPORARY, Files
from service.store.index.changes import Changes

BACKUP_MARK = "backup.json"
RESTORE_MARK = "restore.json"


def back_up(source: Files, target: Files, *, origin: str, clock: Clock = utc_now) -> CopyReport:
    """Make ``target`` a backup of ``source``; safe while services and workers use ``source``.

    What the target has already is not copied again. What the source no longer has is removed from the target.

    Args:
        origin: Address of the source, which is noted in the backup.

    Raises:
        Conflict: The target is not empty and not a backup of this store, or the source is empty and the backup is not.
        Unavailable: A store failed. The target has whole objects only, and the next backup goes on.
    """
    destination = Destination(target, replaces=True)
    mark = _read_mark(target, BACKUP_MARK)
    if mark is None and _has_files(destination.present):
        raise Conflict("The destination is not empty and not a backup: choose an empty folder.")
    if mark is not None and mark.get("origin") != origin:
        raise Conflict(f"The destination is a backup of {mark.get('origin')}, not of {origin}: choose another folder.")
    if mark is not None and destination.present.artifact_folders() and not Inventory(source).artifact_folders():
        raise Conflict(f"The store at {origin} is empty, and its backup is not: nothing was changed.")
    started_at = write_time(clock())
    _write_mark(target, origin=origin, started_at=started_at, completed_at=None)
    destination.keep(BACKUP_MARK)
    StoreCopy(source, destination=destination).run()
    destination.remove_others()
    _write_mark(target, origin=origin, started_at=started_at, completed_at=write_time(clock()))
    return destination.report


def restore(source: Files, target: Files, *, merge: bool = False, clock: Clock = utc_now) -> CopyReport:
    """Copy a backup into a store. Objects of the store are never replaced; a different one is a problem.

    Args:
        merge: Whether the store may have objects. Without, only an empty store, or the rest of an interrupted restore.

    Raises:
        Conflict: The source is not a backup, or the store is not empty.
        Unavailable: A store failed. The next call goes on.
    """
    mark = _read_mark(source, BACKUP_MARK)
    if mark is None:
        raise Conflict("The source is not a backup: expected a folder or URL that `admin backup` has written.")
    destination = Destination(target, replaces=False)
    is_continued = _read_mark(target, RESTORE_MARK) is not None
    if not merge and not is_continued and _has_objects(destination.present):
        raise Conflict("The store is not empty: restore into an empty one, or use --merge.")
    target.put(RESTORE_MARK, seal({"format": 1, "origin": mark.get("origin"), "started_at": write_time(clock())}))
    if mark.get("completed_at") is None:
        destination.problem(
            "the backup is incomplete, because the last one was interrupted: objects in it are whole, others may be missing."
        )
    StoreCopy(source, destination=destination).run()
    # The copies were written without notes for the indexes of the target.
    Changes(ArtifactStore("", files=target)).end_epoch()
    target.remove(RESTORE_MARK)
    return destination.report


def _has_files(present: Inventory) -> bool:
    """Whether there is any file, except one that an interrupted write has left: a backup removes what it does not know."""
    return any(not name_of(entry.key).startswith(TEMPORARY) for entry in present.under(""))


def _has_objects(present: Inventory) -> bool:
    """Whether a store has anything that a service did not put there by starting."""
    return any(entry.key != RESTORE_MARK for entry in present.stored())


def _read_mark(files: Files, key: str) -> dict[str, Any] | None:
    data = files.read_many([key]).get(key)
    if data is None:
        return None
    try:
        return unseal(data, label=key)
    except DamagedArtifact:
        return {}


def _write_mark(files: Files, *, origin: str, started_at: str, completed_at: str | None) -> None:
    record = {"format": 1, "origin": origin, "started_at": started_at, "completed_at": completed_at}
    files.put(BACKUP_MARK, seal(record))
