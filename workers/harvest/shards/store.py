"""Store of a harvest's shards."""

from __future__ import annotations

from promptatlas.types.harvest import ShardFormat

from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import Output
from workers.harvest.shards.files import WRITERS
from workers.harvest.shards.table import ShardTable
from workers.running.shards.store import ShardFiles


class ShardStore(ShardFiles):
    """Stored shards by number: ``shards/00003.safetensors``."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str, shard_format: ShardFormat) -> None:
        super().__init__(artifacts, run_id=run_id, folder="shards", suffix=shard_format)
        self._format: ShardFormat = shard_format

    def put(self, number: int, table: ShardTable) -> Output:
        """Store a shard unless it is already stored; raises Unavailable if the store or the local disk fails."""
        return self.write(number, lambda file: WRITERS[self._format](table, file))
