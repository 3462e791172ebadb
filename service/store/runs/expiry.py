"""Expiry of parts of a run that has ended: its events, its checkpoints, single outputs.

runs/{id}/expired.json    the expired parts, and since when they are being removed

The order makes expiry and a concurrent resume exclude each other, without locks:

1. The record is written, with the time. While that is recent, ``RunStore.resume`` refuses; it looks after it has read the log.
2. A chunk is appended to the log. If the run was resumed since the log was read, that fails, and nothing is removed.
3. The files are removed, and the time is taken out of the record.

The appended chunk ends with a ``done`` event, like the log of every run that has ended, and carries the state. It stays when
the events before it are removed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from promptatlas.types.runs import ExpiredPartName

from service.errors import DamagedArtifact
from service.store.artifacts.clock import Clock, read_time, utc_now, write_time
from service.store.artifacts.store import MANIFEST, ArtifactStore
from service.store.listing import log_damage
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk, NewEvent, done_data

REMOVAL_TIME = timedelta(hours=1)
"""After this time a removal is considered interrupted, and the run can be resumed."""

_MAX_REMOVAL_TIME = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class ExpiredPart:
    """A removed part. path: of an output. n_bytes: what was removed. expired_at: RFC 3339, UTC."""

    part: ExpiredPartName
    path: str | None = None
    n_bytes: int
    expired_at: str


class RunExpiry:
    """Removes parts of runs, and remembers which; stateless."""

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._log = RunLog(artifacts)
        self._clock = clock

    def parts_of(self, run_id: str) -> tuple[ExpiredPart, ...]:
        """The expired parts of a run, in the order of their expiry; none if the record is damaged, which is logged."""
        return tuple(ExpiredPart(**part) for part in (self._record(run_id) or {}).get("parts", ()))

    def is_removing(self, run_id: str) -> bool:
        """Whether parts of the run are being removed, so that it must not be resumed."""
        since = (self._record(run_id) or {}).get("removing_since")
        return since is not None and self._clock() - read_time(since) < REMOVAL_TIME

    def expire(self, run_id: str, parts: Sequence[ExpiredPart]) -> bool:
        """Remove parts of a run; False if it is queued or running, and then nothing is removed. Can be repeated.

        Raises:
            DamagedArtifact: The end of the log is damaged; nothing is removed.
        """
        head = self._log.head(run_id)
        if not head.state.has_ended:
            return False
        known = self.parts_of(run_id)
        together = _merged(known, parts)
        started = self._clock()
        self._write(run_id, together, removing_since=write_time(started))
        # The head is read again: a resume before the record was written does not know of the removal.
        chunk = self._append(run_id, parts)
        if chunk is None:
            self._write(run_id, known, removing_since=None)
            return False
        for part in sorted(parts, key=_removal_order):
            if self._clock() - started > _MAX_REMOVAL_TIME:
                # The next expiry of these parts goes on.
                return True
            self._remove(run_id, part, head=chunk)
        self._write(run_id, together, removing_since=None)
        return True

    def _append(self, run_id: str, parts: Sequence[ExpiredPart]) -> Chunk | None:
        """The chunk that records the expiry; None if the run goes on."""
        while True:
            head = self._log.head(run_id)
            if not head.state.has_ended:
                return None
            now = write_time(self._clock())
            text = f"Expired: {_described(parts)}."
            chunk = Chunk(
                first_id=head.next_id,
                events=(
                    NewEvent(type="log", time=now, data={"level": "info", "text": text}),
                    NewEvent(type="done", time=now, data=done_data(head.state)),
                ),
                state=head.state,
                writer=secrets.token_hex(8),
            )
            if self._log.append(run_id, chunk):
                self._log.hint(run_id, chunk)
                return chunk

    def _remove(self, run_id: str, part: ExpiredPart, *, head: Chunk) -> None:
        folder = f"runs/{run_id}"
        if part.part == "events":
            self._log.drop_before(run_id, first_id=head.first_id)
        elif part.part == "checkpoints":
            for slot in self._artifacts.names(f"{folder}/checkpoints"):
                self._artifacts.remove_record(f"{folder}/checkpoints/{slot}/{MANIFEST}")
            self._artifacts.remove_folder(f"{folder}/checkpoints")
        elif part.path is not None:
            output = f"{folder}/outputs/{quote(part.path, safe='')}"
            # The manifest first, so that a reader finds all of the output or nothing.
            self._artifacts.remove_record(f"{output}/{MANIFEST}")
            self._artifacts.remove_folder(output)

    def _record(self, run_id: str) -> dict[str, Any] | None:
        try:
            return self._artifacts.get_record(_key(run_id), label=_label(run_id))
        except DamagedArtifact as error:
            # It must not hide the run.
            log_damage(error)
            return None

    def _write(self, run_id: str, parts: Sequence[ExpiredPart], *, removing_since: str | None) -> None:
        if not parts and removing_since is None:
            self._artifacts.remove_record(_key(run_id))
            return
        self._artifacts.put_record(
            _key(run_id), {"parts": [asdict(part) for part in parts], "removing_since": removing_since}
        )


def expired_output(artifacts: ArtifactStore, *, run_id: str, path: str) -> ExpiredPart | None:
    """The expiry of an output that does not exist; None if it has not expired, or if that is unknown."""
    return next((part for part in RunExpiry(artifacts).parts_of(run_id) if part.path == path), None)


def _merged(known: Sequence[ExpiredPart], parts: Sequence[ExpiredPart]) -> tuple[ExpiredPart, ...]:
    """All parts, each once. What expired of events at several times is added up."""
    before = {(part.part, part.path): part for part in known}
    for part in parts:
        same = before.pop((part.part, part.path), None)
        n_bytes = part.n_bytes + (same.n_bytes if same is not None and part.part == "events" else 0)
        before[part.part, part.path] = replace(part, n_bytes=n_bytes)
    return tuple(before.values())


def _removal_order(part: ExpiredPart) -> tuple[bool, bool, str]:
    # Outputs before events; descriptions such as map.json before what they describe, so that no half of a map is found.
    return part.part == "events", not (part.path or "").endswith(".json"), part.path or ""


def _described(parts: Sequence[ExpiredPart]) -> str:
    n_artifacts = sum(part.part == "artifact" for part in parts)
    others = [part.part for part in parts if part.part != "artifact"]
    return ", ".join([*([f"{n_artifacts} artifacts"] if n_artifacts else []), *others])


def _key(run_id: str) -> str:
    return f"runs/{run_id}/expired.json"


def _label(run_id: str) -> str:
    return f"the expiry record of run {run_id}"
