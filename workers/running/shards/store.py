"""Store of a run's shards: each is written once, by the first worker to finish it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from service.store.artifacts.store import ArtifactStore
from service.store.datasets.importer import disk_errors_as_unavailable
from service.store.locked_folders import scratch_folder
from service.store.runs.outputs import Outputs
from service.store.runs.records import Output
from workers.running.store_retries import with_retries

RETRIES_S = (0.5, 1.0, 2.0, 4.0)
"""Waits before each retry of storing a shard."""


class ShardFiles:
    """Stored shards by number: the outputs ``{folder}/00003.{suffix}`` of a run."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str, folder: str, suffix: str) -> None:
        self._artifacts = artifacts
        self._outputs = Outputs(artifacts, run_id=run_id)
        self._stored_in = f"runs/{run_id}/outputs"
        self._folder = folder
        self._suffix = suffix

    def path(self, number: int) -> str:
        """Path of a shard among the run's outputs."""
        return f"{self._folder}/{number:05d}.{self._suffix}"

    def find(self, number: int) -> Output | None:
        """A stored shard, or None if it is missing or damaged."""
        return self._outputs.find(self.path(number))

    def find_all(self, numbers: Iterable[int]) -> dict[int, Output]:
        """The stored shards among ``numbers``."""
        stored = set(self._artifacts.names(self._stored_in))
        wanted = [number for number in numbers if quote(self.path(number), safe="") in stored]
        found = ((number, self.find(number)) for number in wanted)
        return {number: output for number, output in found if output is not None}

    def read(self, number: int) -> bytes:
        """The verified bytes of a shard; raises NotFound, Expired or DamagedArtifact."""
        return with_retries(lambda: self._outputs.read(self.path(number)), waits_s=RETRIES_S)

    def write(self, number: int, write: Callable[[Path], None]) -> Output:
        """Store a shard unless it is already stored; raises Unavailable if the store or the local disk fails.

        Args:
            write: Writes the shard to a local file.
        """
        with disk_errors_as_unavailable(), scratch_folder() as folder:
            file = folder / "shard"
            write(file)
            return with_retries(lambda: self._outputs.put_once(self.path(number), file), waits_s=RETRIES_S)
