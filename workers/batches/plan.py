"""Plan of a batch: how its requests are divided into shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from workers.running.shards.plans import PlanRecord


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """revision: of the model's weights. n_requests: of the file. shard_requests: consecutive ones in each shard."""

    revision: str
    n_requests: int
    shard_requests: int

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_requests // self.shard_requests)

    def requests_of(self, number: int) -> tuple[int, int]:
        """The first request of a shard, and the number of requests."""
        first = number * self.shard_requests
        return first, min(self.shard_requests, self.n_requests - first)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> BatchPlan:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing or unknown."""
        try:
            return cls(**found)
        except TypeError as error:
            raise DamagedArtifact(f"{label} is damaged: its fields are missing or unknown.") from error


class PlanFile(PlanRecord[BatchPlan]):
    """The stored plan of one batch."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        super().__init__(artifacts, run_id=run_id, parse=lambda found, label: BatchPlan.from_json(found, label=label))
