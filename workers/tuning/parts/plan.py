"""The stored plan of a divided run: the members of each part, and what all workers must have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from service.engine.model.hosted_model import HostedModel
from service.errors import Conflict, DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from workers.running.shards.plans import PlanRecord


@dataclass(frozen=True, kw_only=True)
class PartsPlan:
    """All parts of a run.

    parts: indices of the members of each. device, dtype, n_threads: on which rounding depends.
    """

    parts: tuple[tuple[int, ...], ...]
    device: str
    dtype: str
    n_threads: int

    @classmethod
    def of(cls, parts: tuple[tuple[int, ...], ...], *, model: HostedModel) -> PartsPlan:
        """The plan of a run whose first attempt has this model."""
        return cls(parts=parts, device=model.device.type, dtype=str(model.dtype), n_threads=torch.get_num_threads())

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return len(self.parts)

    def set_threads(self) -> None:
        """Set the number of threads of this process to that of the plan, since the rounding of sums depends on it."""
        if torch.get_num_threads() != self.n_threads:
            torch.set_num_threads(self.n_threads)

    def require_same(self, model: HostedModel) -> None:
        """Raise Conflict if this worker has another kind of device, or the model in another precision."""
        expected, found = (self.device, self.dtype), (model.device.type, str(model.dtype))
        if found != expected:
            raise Conflict(
                f"Expected a worker with {' and '.join(expected)}, as of this run; got {' and '.join(found)}."
            )

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> PartsPlan:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing or unknown."""
        try:
            return cls(**{**found, "parts": tuple(tuple(part) for part in found["parts"])})
        except (KeyError, TypeError) as error:
            raise DamagedArtifact(f"{label} is damaged: its fields are missing or unknown.") from error


class PlanFile(PlanRecord[PartsPlan]):
    """The stored plan of one run."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        super().__init__(artifacts, run_id=run_id, parse=lambda found, label: PartsPlan.from_json(found, label=label))
