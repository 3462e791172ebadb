"""The log of a run: everything that ever happened to it, in one chain that only one writer at a time can lengthen.

runs/{id}/events/{first id}.json    a chunk: some events, and how the run stands after them; created exclusively
runs/{id}/state.json                a hint: about where the chain ends

The next chunk's name follows from the last one's, so whoever would change a run must have seen all that happened before:
of two that try at once one gets the name, the other looks again. The state of a run is that of its last chunk. So the
state and the events cannot disagree, a run cannot end twice, and an attempt that was given up for dead cannot write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from service.errors import AtlasError, DamagedArtifact
from service.store.artifacts import ArtifactStore
from service.store.prompt_versions import Report
from service.store.run_records import Chunk

_N_AT_ONCE = 64


class RunLog:
    """Reads and lengthens the logs in an artifact store; keeps nothing in memory."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def head(self, run_id: str) -> Chunk:
        """The last chunk; DamagedArtifact when it cannot be found or is not what was written."""
        start = self._hinted(run_id) or self._last_listed(run_id)
        return self.newest(run_id, start)

    def newest(self, run_id: str, known: Chunk) -> Chunk:
        """The last chunk, looked for from one that is known."""
        for chunk in self.following(run_id, known):
            known = chunk
        return known

    def following(self, run_id: str, known: Chunk) -> Iterator[Chunk]:
        """The chunks behind one that is known, in order."""
        chunk = self.at(run_id, known.next_id)
        while chunk is not None:
            yield chunk
            chunk = self.at(run_id, chunk.next_id)

    def at(self, run_id: str, first_id: int) -> Chunk | None:
        """The chunk that begins with this id, None if none does; DamagedArtifact."""
        label = _label(run_id, first_id)
        record = self._artifacts.get_record(_chunk_key(run_id, first_id), label=label)
        return None if record is None else Chunk.from_json(record, label=label)

    def append(self, run_id: str, chunk: Chunk) -> bool:
        """Lengthen the chain by ``chunk``; False when another was first at that place."""
        return self._artifacts.create_record(_chunk_key(run_id, chunk.first_id), chunk.to_json())

    def hint(self, run_id: str, chunk: Chunk) -> None:
        """Note where the chain ends, for those who look later. Worth an effort, not an error."""
        with suppress(AtlasError):
            self._artifacts.put_record(_hint_key(run_id), {"first_id": chunk.first_id})

    def first_ids(self, run_id: str) -> list[int]:
        """The ids that chunks begin with, in order."""
        names = (name.removesuffix(".json") for name in self._artifacts.names(f"{_folder(run_id)}/events"))
        return sorted(int(name) for name in names if name.isdecimal())

    def read(self, run_id: str, first_ids: Sequence[int], *, on_damage: Report) -> Iterator[Chunk]:
        """The chunks that begin with these ids; damaged ones are reported and left out."""
        for start in range(0, len(first_ids), _N_AT_ONCE):
            for first_id in first_ids[start : start + _N_AT_ONCE]:
                try:
                    chunk = self.at(run_id, first_id)
                except DamagedArtifact as error:
                    on_damage(error)
                    continue
                if chunk is not None:
                    yield chunk

    def _hinted(self, run_id: str) -> Chunk | None:
        # Whatever is wrong with a hint, the chain itself can still be listed.
        with suppress(DamagedArtifact):
            record = self._artifacts.get_record(_hint_key(run_id), label=f"the hint of run {run_id}")
            if record is not None and isinstance(record.get("first_id"), int):
                return self.at(run_id, record["first_id"])
        return None

    def _last_listed(self, run_id: str) -> Chunk:
        first_ids = self.first_ids(run_id)
        chunk = self.at(run_id, first_ids[-1]) if first_ids else None
        if chunk is None:
            raise DamagedArtifact(f"run {run_id} is damaged: its events are missing.")
        return chunk


def _folder(run_id: str) -> str:
    return f"runs/{run_id}"


def _chunk_key(run_id: str, first_id: int) -> str:
    return f"{_folder(run_id)}/events/{first_id:010d}.json"


def _hint_key(run_id: str) -> str:
    return f"{_folder(run_id)}/state.json"


def _label(run_id: str, first_id: int) -> str:
    return f"run {run_id}, events from {first_id},"
