"""Checkpoints of a run: two slots, written alternately, so that the previous checkpoint exists until the new one does.

runs/{id}/checkpoints/{0|1}/    artifacts; the one with the larger ``number`` in its metadata is newer

A run that several workers train in parts has two slots for each part as well: ``part-00003.0`` and ``part-00003.1``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from service.store.listing import log_damage

_SLOTS = (0, 1)


def runs_with_checkpoints(artifacts: ArtifactStore, run_ids: Iterable[str]) -> set[str]:
    """Those runs of which any checkpoint was saved, even if it is damaged; one access to the store."""
    owners = {_folder(run_id, slot): run_id for run_id in run_ids for slot in _SLOTS}
    return {owners[folder] for folder in artifacts.get_many(dict.fromkeys(owners, ""))} if owners else set()


class Checkpoints:
    """The checkpoints of one run.

    A run can resume from any intact checkpoint, whichever attempt wrote it; so a late write of a stale attempt is harmless.

    Args:
        part: of the run, if these are the checkpoints of a part.
    """

    def __init__(self, artifacts: ArtifactStore, *, run_id: str, part: int | None = None) -> None:
        self._artifacts = artifacts
        self._run_id = run_id
        self._prefix = "" if part is None else f"part-{part:05d}."
        self._damaged: set[int] = set()

    def save(self, files: Mapping[str, bytes | Path], *, attempt: int) -> None:
        """Save ``files`` as the newest checkpoint, atomically, in the slot of the older or a damaged one."""
        known = self._known()
        intact = {slot: number for slot, number in known.items() if number not in self._damaged}
        free = [slot for slot in _SLOTS if slot not in intact]
        slot = free[0] if free else min(intact, key=lambda slot: intact[slot])
        number = max(known.values(), default=0) + 1
        self._artifacts.replace(
            self._folder(slot),
            label=self._label(number),
            files=files,
            metadata={"number": number, "attempt": attempt},
        )

    def load(self) -> dict[str, bytes] | None:
        """The newest intact checkpoint, or None. Damaged ones are logged and skipped."""
        known = self._known()
        for slot in sorted(known, key=lambda slot: known[slot], reverse=True):
            files = self._read(slot, known[slot])
            if files is not None:
                return files
        return None

    def load_some(self, names: Collection[str], *, after: int = 0) -> tuple[int, dict[str, bytes]] | None:
        """Number and some files of the newest checkpoint, if its number is above ``after`` and it is intact."""
        known = self._known()
        slot = max(known, key=lambda slot: known[slot], default=None)
        if slot is None or known[slot] <= after:
            return None
        files = self._read(slot, known[slot], names=names)
        return None if files is None else (known[slot], files)

    def remove(self) -> None:
        """Remove all checkpoints."""
        for slot in _SLOTS:
            self._artifacts.remove_folder(self._folder(slot))

    def _read(self, slot: int, number: int, *, names: Collection[str] | None = None) -> dict[str, bytes] | None:
        try:
            artifact = self._artifacts.get(self._folder(slot), label=self._label(number))
            if artifact is None:
                return None
            wanted = [name for name in artifact.files if names is None or name in names]
            return {name: self._artifacts.read(artifact, name) for name in wanted}
        except DamagedArtifact as error:
            self._damaged.add(number)
            log_damage(error)
            return None

    def _known(self) -> dict[int, int]:
        """Numbers of the checkpoints by slot; those with a damaged manifest are skipped."""
        numbers = {}
        for slot in _SLOTS:
            try:
                artifact = self._artifacts.get(self._folder(slot), label=self._label("?"))
            except DamagedArtifact as error:
                log_damage(error)
                continue
            if artifact is not None:
                numbers[slot] = int(artifact.metadata["number"])
        return numbers

    def _folder(self, slot: int) -> str:
        return _folder(self._run_id, f"{self._prefix}{slot}")

    def _label(self, number: int | str) -> str:
        return f"checkpoint {number} of run {self._run_id}"


def _folder(run_id: str, slot: int | str) -> str:
    return f"runs/{run_id}/checkpoints/{slot}"
