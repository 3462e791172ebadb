"""Checkpoints of a run: two places, written in turn, so that the one before stays until the new one is whole.

runs/{id}/checkpoints/{0|1}/    artifacts; the greater ``number`` in their metadata is the newer
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from service.store.listing import log_damage

_PLACES = (0, 1)


class Checkpoints:
    """The checkpoints of one run.

    Any whole checkpoint is one to go on from, whichever attempt made it: so nothing is lost when an attempt that was given
    up for dead writes one more.
    """

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        self._artifacts = artifacts
        self._run_id = run_id
        self._bad: set[int] = set()

    def exist(self) -> bool:
        """Whether any was ever saved, sound or not."""
        return any(self._artifacts.has_manifest(self._folder(place)) for place in _PLACES)

    def save(self, files: Mapping[str, bytes | Path], *, attempt: int) -> None:
        """Keep ``files`` as the newest checkpoint, whole or not at all; over the older one, or a damaged one."""
        known = self._known()
        sound = {place: number for place, number in known.items() if number not in self._bad}
        free = [place for place in _PLACES if place not in sound]
        place = free[0] if free else min(sound, key=lambda place: sound[place])
        number = max(known.values(), default=0) + 1
        self._artifacts.replace(
            self._folder(place),
            label=self._label(number),
            files=files,
            metadata={"number": number, "attempt": attempt},
        )

    def load(self) -> dict[str, bytes] | None:
        """The newest whole checkpoint; None when there is none. Damaged ones are logged and passed over."""
        known = self._known()
        for place in sorted(known, key=lambda place: known[place], reverse=True):
            files = self._read(place, known[place])
            if files is not None:
                return files
        return None

    def _read(self, place: int, number: int) -> dict[str, bytes] | None:
        try:
            artifact = self._artifacts.get(self._folder(place), label=self._label(number))
            if artifact is None:
                return None
            return {name: self._artifacts.read(artifact, name) for name in artifact.files}
        except DamagedArtifact as error:
            self._bad.add(number)
            log_damage(error)
            return None

    def _known(self) -> dict[int, int]:
        """Numbers of the checkpoints, by place; those whose manifest is damaged are as good as absent."""
        numbers = {}
        for place in _PLACES:
            try:
                artifact = self._artifacts.get(self._folder(place), label=self._label("?"))
            except DamagedArtifact as error:
                log_damage(error)
                continue
            if artifact is not None:
                numbers[place] = int(artifact.metadata["number"])
        return numbers

    def _folder(self, place: int) -> str:
        return f"runs/{self._run_id}/checkpoints/{place}"

    def _label(self, number: int | str) -> str:
        return f"checkpoint {number} of run {self._run_id}"
