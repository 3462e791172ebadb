"""Stored parts of a run: where each begins, its checkpoints, and its result. They are among the checkpoints of the run.

runs/{id}/checkpoints/parts                 draws and other values that the first attempt fixes
runs/{id}/checkpoints/part-00003.{0|1}      checkpoints of part 3
runs/{id}/checkpoints/part-00003.result     its state after the last step, written once
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from service.errors import Conflict, DamagedArtifact
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import log_damage
from service.store.runs.checkpoints import Checkpoints
from service.store.runs.records import Output
from workers.running.shards.store import RETRIES_S
from workers.running.store_retries import with_retries

Files = Mapping[str, bytes]

_START, _RESULT = "parts", ".result"


class PartStore:
    """Parts of one run by number; a :class:`workers.running.shards.sharing.StoredShards` of results."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        self._artifacts = artifacts
        self._run_id = run_id
        self._folder = f"runs/{run_id}/checkpoints"

    # --- what all parts begin with ---

    def save_start(self, files: Files) -> None:
        """Store what all parts begin with."""
        label = self._label(_START)
        content: dict[str, bytes | Path] = dict(files)
        with_retries(
            lambda: self._artifacts.replace(f"{self._folder}/{_START}", label=label, files=content, metadata={}),
            waits_s=RETRIES_S,
        )

    def load_start(self) -> dict[str, bytes] | None:
        """What all parts begin with; None before it is stored, and after the parts were joined."""
        artifact = self._find(_START)
        return None if artifact is None else self._read(artifact)

    # --- checkpoints ---

    def save(self, number: int, files: Files, *, attempt: int) -> None:
        """Store ``files`` as the newest checkpoint of a part. attempt: of the run; 0 for a helper."""
        with_retries(lambda: self._checkpoints(number).save(files, attempt=attempt), waits_s=RETRIES_S)

    def load(self, number: int) -> dict[str, bytes] | None:
        """The newest intact checkpoint of a part, or None."""
        return with_retries(self._checkpoints(number).load, waits_s=RETRIES_S)

    def load_some(self, number: int, names: Collection[str], *, after: int) -> tuple[int, dict[str, bytes]] | None:
        """Number and some files of the newest checkpoint of a part, if its number is above ``after``."""
        checkpoints = self._checkpoints(number)
        return with_retries(lambda: checkpoints.load_some(names, after=after), waits_s=RETRIES_S)

    # --- results ---

    def put(self, number: int, files: Files) -> Output:
        """Store the result of a part, unless it is stored already, and remove the part's checkpoints."""
        content: dict[str, bytes | Path] = dict(files)
        folder, label = f"{self._folder}/{_result(number)}", self._label(_result(number))

        def write() -> Artifact:
            try:
                return self._artifacts.create(folder, label=label, files=content, metadata={})
            except (Conflict, DamagedArtifact):
                found = self._find(_result(number))
                return found or self._artifacts.replace(folder, label=label, files=content, metadata={})

        artifact = with_retries(write, waits_s=RETRIES_S)
        self._checkpoints(number).remove()
        return _output_of(artifact)

    def result(self, number: int, *, names: Collection[str] | None = None) -> dict[str, bytes]:
        """The files of a result, or some of them; raises DamagedArtifact. What is damaged is removed: a resumed run trains it."""
        artifact = self._find(_result(number))
        if artifact is None:
            raise DamagedArtifact(f"{self._label(_result(number))} is missing or damaged; resume the run.")
        try:
            return self._read(artifact, names=names)
        except DamagedArtifact:
            self._artifacts.remove_folder(artifact.folder)
            raise

    def find(self, number: int) -> Output | None:
        """The result of a part, or None if it is missing or damaged."""
        artifact = self._find(_result(number))
        return None if artifact is None else _output_of(artifact)

    def find_all(self, numbers: Iterable[int]) -> dict[int, Output]:
        """The results among ``numbers``."""
        stored = set(with_retries(lambda: self._artifacts.names(self._folder), waits_s=RETRIES_S))
        found = ((number, self.find(number)) for number in numbers if _result(number) in stored)
        return {number: output for number, output in found if output is not None}

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove everything, first what helpers need to begin."""
        for name in (_START, *map(_result, numbers)):
            self._artifacts.remove_folder(f"{self._folder}/{name}")

    def _checkpoints(self, number: int) -> Checkpoints:
        return Checkpoints(self._artifacts, run_id=self._run_id, part=number)

    def _find(self, name: str) -> Artifact | None:
        try:
            return with_retries(
                lambda: self._artifacts.get(f"{self._folder}/{name}", label=self._label(name)), waits_s=RETRIES_S
            )
        except DamagedArtifact as error:
            log_damage(error)
            return None

    def _read(self, artifact: Artifact, *, names: Collection[str] | None = None) -> dict[str, bytes]:
        wanted = [name for name in artifact.files if names is None or name in names]
        return with_retries(lambda: {name: self._artifacts.read(artifact, name) for name in wanted}, waits_s=RETRIES_S)

    def _label(self, name: str) -> str:
        return f"{name} of run {self._run_id}"


def _result(number: int) -> str:
    return f"part-{number:05d}{_RESULT}"


def _output_of(artifact: Artifact) -> Output:
    files = artifact.files.values()
    # The hash of a result is not used: its parts are verified when they are read.
    return Output(path=artifact.folder, n_bytes=sum(file.n_bytes for file in files), sha256="")
