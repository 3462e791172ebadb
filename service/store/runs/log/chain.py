"""Log of a run: an append-only chain of chunks of events.

runs/{id}/events/{first id}.json    a chunk: some events and the state after them; created exclusively
runs/{id}/state.json                a hint where the chain ends

The key of the next chunk follows from the last chunk, so a writer must have read the whole chain before it can append. Of
concurrent writers one creates the chunk, and the others read again. The state of a run is the state of its last chunk.
Therefore state and events cannot disagree, a run cannot end twice, and a stale attempt cannot write.

Chunks of ended runs are merged, see ``folding``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from service.errors import AtlasError, DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from service.store.listing import log_damage
from service.store.runs.records import Chunk, StoredEvent

_BATCH_SIZE = 64

Found = Chunk | DamagedArtifact
"""A chunk, or the error if it is damaged."""


class RunLog:
    """Reads and appends to the logs in an artifact store; stateless."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def head(self, run_id: str) -> Chunk:
        """The last chunk; raises DamagedArtifact if it is missing or damaged."""
        found = self.heads([run_id])[run_id]
        if isinstance(found, DamagedArtifact):
            raise found
        return found

    def heads(self, run_ids: Sequence[str]) -> dict[str, Found]:
        """The last chunks of many runs, with batched reads."""
        found, ends = self._hinted(run_ids)
        pending = {run_id: chunk for run_id, chunk in _intact(found).items() if run_id not in ends}
        while pending:
            following = self._at({run_id: chunk.next_id for run_id, chunk in pending.items()})
            found.update(following)
            pending = _intact(following)
        without_head = set(run_ids) - set(_intact(found))
        return found | {run_id: self._last_listed(run_id) for run_id in without_head}

    def following(self, run_id: str, known: Chunk) -> Iterator[Chunk]:
        """The chunks after a known one, in order; raises DamagedArtifact."""
        chunk = self.at(run_id, known.next_id)
        while chunk is not None:
            yield chunk
            chunk = self.at(run_id, chunk.next_id)

    def at(self, run_id: str, first_id: int) -> Chunk | None:
        """The chunk whose first event has this id, or None; raises DamagedArtifact."""
        found = self._at({run_id: first_id}).get(run_id)
        if isinstance(found, DamagedArtifact):
            raise found
        return found

    def append(self, run_id: str, chunk: Chunk, *, use_reserve: bool = False) -> bool:
        """Append ``chunk``; returns False if another writer appended first. use_reserve: see ``create_record``."""
        return self._artifacts.create_record(
            _chunk_key(run_id, chunk.first_id), chunk.to_json(), use_reserve=use_reserve
        )

    def hint(self, run_id: str, chunk: Chunk) -> None:
        """Store a hint where the chain ends. Failures are ignored."""
        with suppress(AtlasError):
            self._artifacts.put_record(_hint_key(run_id), {"first_id": chunk.first_id, "next_id": chunk.next_id})

    def drop_first(self, run_id: str) -> None:
        """Remove the first chunk and the hint of a run whose creation failed."""
        self._artifacts.remove_record(_hint_key(run_id))
        self._artifacts.remove_record(_chunk_key(run_id, 1))

    def drop_before(self, run_id: str, *, first_id: int) -> None:
        """Remove the chunks before the last one, whose first event has this id. Readers skip what is missing."""
        self.drop(run_id, [number for number in self.first_ids(run_id) if number < first_id])

    def drop(self, run_id: str, first_ids: Iterable[int]) -> None:
        """Remove chunks."""
        for number in first_ids:
            self._artifacts.remove_record(_chunk_key(run_id, number))

    def replace(self, run_id: str, chunk: Chunk) -> None:
        """Replace the chunk with the same first event by one that has more events."""
        self._artifacts.put_record(_chunk_key(run_id, chunk.first_id), chunk.to_json())

    def first_ids(self, run_id: str) -> list[int]:
        """First event ids of all chunks, in order."""
        names = (name.removesuffix(".json") for name in self._artifacts.names(f"runs/{run_id}/events"))
        return sorted(int(name) for name in names if name.isdecimal())

    def read(self, run_id: str, first_ids: Sequence[int]) -> Iterator[Chunk]:
        """The chunks with these first event ids, in order, each event once; damaged chunks are logged and skipped."""
        next_id = 0
        for start in range(0, len(first_ids), _BATCH_SIZE):
            batch = first_ids[start : start + _BATCH_SIZE]
            keys = {first_id: _chunk_key(run_id, first_id) for first_id in batch}
            records = self._artifacts.get_records({key: _label(run_id, first_id) for first_id, key in keys.items()})
            for first_id, key in keys.items():
                if first_id < next_id:
                    continue
                for chunk in self._intact_or_merged(run_id, first_id, record=records.get(key)):
                    yield chunk.after(next_id)
                    next_id = chunk.next_id

    def _intact_or_merged(
        self, run_id: str, first_id: int, *, record: Mapping[str, object] | DamagedArtifact | None
    ) -> Iterator[Chunk]:
        """The chunk, or the one into which it was merged after it was listed."""
        if record is not None:
            yield from _intact_or_logged(_chunk_from(record, label=_label(run_id, first_id)))
        elif before := [number for number in self.first_ids(run_id) if number <= first_id]:
            found = self._at({run_id: before[-1]}).get(run_id)
            if isinstance(found, Chunk) and found.next_id > first_id:
                yield found

    def _at(self, first_ids: Mapping[str, int]) -> dict[str, Found]:
        """The chunks with these first event ids, by run; missing ones are left out."""
        return {run_id: found for (run_id, _), found in self._read_places(first_ids.items()).items()}

    def _hinted(self, run_ids: Iterable[str]) -> tuple[dict[str, Found], set[str]]:
        """The chunks that the hints name, or those after them; and the runs in which no other chunk follows."""
        labels = {_hint_key(run_id): f"the hint of run {run_id}" for run_id in run_ids}
        records = self._artifacts.get_records(labels)
        places: dict[str, tuple[int, int | None]] = {}
        for run_id in run_ids:
            record = records.get(_hint_key(run_id))
            # With a missing or damaged hint, the chain is listed instead.
            if isinstance(record, dict) and isinstance(first_id := record.get("first_id"), int):
                next_id = record.get("next_id")
                places[run_id] = first_id, next_id if isinstance(next_id, int) else None
        both = [(run_id, at) for run_id, pair in places.items() for at in pair if at is not None]
        chunks = self._read_places(both)
        found: dict[str, Found] = {}
        ends = set()
        for run_id, (first_id, next_id) in places.items():
            hinted, after = chunks.get((run_id, first_id)), chunks.get((run_id, next_id or 0))
            is_known = isinstance(hinted, Chunk) and hinted.next_id == next_id
            if is_known and after is None:
                ends.add(run_id)
            if (chosen := after if is_known and after is not None else hinted) is not None:
                found[run_id] = chosen
        return found, ends

    def _read_places(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Found]:
        """Chunks by run and first event id; missing ones are left out."""
        keys = {(run_id, first_id): _chunk_key(run_id, first_id) for run_id, first_id in places}
        labels = {key: _label(*place) for place, key in keys.items()}
        records = self._artifacts.get_records(labels)
        return {place: _chunk_from(records[key], label=labels[key]) for place, key in keys.items() if key in records}

    def _last_listed(self, run_id: str) -> Found:
        first_ids = self.first_ids(run_id)
        found = self._at({run_id: first_ids[-1]}) if first_ids else {}
        return found.get(run_id) or DamagedArtifact(f"run {run_id} is damaged: its events are missing.")


def events_after(log: RunLog, run_id: str, *, after: int, limit: int) -> list[StoredEvent]:
    """The first ``limit`` events with ids greater than ``after``; damaged chunks are logged and skipped.

    Raises:
        DamagedArtifact: The last chunk is damaged.
    """
    head = log.head(run_id)
    found: list[StoredEvent] = []
    for chunk in _chunks_after(log, run_id, after=after, head=head):
        found += (event for event in _visible_events(chunk, head=head) if event.id > after)
        if len(found) >= limit:
            break
    return found[:limit]


def curve_of(log: RunLog, run_id: str, *, with_times: bool = False) -> list[dict[str, Any]]:
    """One point per (step, member), ordered by step; later values replace earlier ones.

    Args:
        with_times: points have ``time``, that of their last event.
    """
    points: dict[tuple[int, str | None], dict[str, Any]] = {}
    for chunk in log.read(run_id, log.first_ids(run_id)):
        for event in chunk.events:
            if event.type == "metric":
                point = points.setdefault((event.data["step"], event.data.get("member")), {})
                point.update(event.data, **({"time": event.time} if with_times else {}))
    return sorted(points.values(), key=lambda point: int(point["step"]))


def _chunks_after(log: RunLog, run_id: str, *, after: int, head: Chunk) -> Iterator[Chunk]:
    """The chunks with events after ``after``, up to ``head``."""
    # Clients that follow a run need only the head; the listing is skipped for them.
    if after + 1 < head.first_id:
        first_ids = [first_id for first_id in log.first_ids(run_id) if first_id < head.first_id]
        start = max(bisect_right(first_ids, after + 1) - 1, 0)
        yield from log.read(run_id, first_ids[start:])
    yield head


def _visible_events(chunk: Chunk, *, head: Chunk) -> list[StoredEvent]:
    """Events of a chunk; a ``done`` event becomes ``status`` if the run was resumed since."""
    is_last = chunk.first_id == head.first_id
    return [
        replace(event, type="status") if event.type == "done" and not is_last else event for event in chunk.numbered()
    ]


def _intact(found: Mapping[str, Found]) -> dict[str, Chunk]:
    return {run_id: chunk for run_id, chunk in found.items() if isinstance(chunk, Chunk)}


def _intact_or_logged(found: Found) -> Iterator[Chunk]:
    if isinstance(found, Chunk):
        yield found
    else:
        log_damage(found)


def _chunk_from(record: Mapping[str, object] | DamagedArtifact, *, label: str) -> Found:
    if isinstance(record, DamagedArtifact):
        return record
    try:
        return Chunk.from_json(record, label=label)
    except DamagedArtifact as error:
        return error


def _chunk_key(run_id: str, first_id: int) -> str:
    return f"runs/{run_id}/events/{first_id:010d}.json"


def _hint_key(run_id: str) -> str:
    return f"runs/{run_id}/state.json"


def _label(run_id: str, first_id: int) -> str:
    return f"run {run_id}, events from {first_id},"
