"""Plan of a ``generate`` run: the items of each shard, and what the samples are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from promptatlas.types.generation import GenerateSpec

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from workers.generate.samples.source import Identity
from workers.running.shards.plans import PlanRecord

N_SHARDS_TARGET = 64
"""So that many workers can share a run."""

MIN_SHARD_SAMPLES, MAX_SHARD_SAMPLES = 256, 4096
"""Fewer samples would leave the batch half empty at the end of each shard."""

TEACHER_SHARD_SAMPLES = 64
"""Of a teacher, whose answers are lost if the worker dies before the shard is stored."""

MAX_TOP_BYTES = 64 << 20
"""Bound on the most probable tokens of a shard."""

_SELECTING = ("answer", "metric", "keep", "dedupe", "name", "reuse")
"""Fields of the spec that do not change what is generated."""


@dataclass(frozen=True, kw_only=True)
class GeneratePlan:
    """All shards, and what they are made from.

    key: equal for runs that generate the same samples. n_items: of the dataset. items_per_shard: consecutive ones.
    """

    key: str
    identity: Identity
    dataset_sha256: str
    n_items: int
    items_per_shard: int

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_items // self.items_per_shard)

    def items_of(self, number: int) -> tuple[int, int]:
        """The first item of a shard, counted from 0 among those of the run, and the number of items."""
        first = number * self.items_per_shard
        return first, min(self.items_per_shard, self.n_items - first)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> GeneratePlan:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing or unknown."""
        try:
            identity: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in found["identity"].items()
            }
            return cls(**{**found, "identity": Identity(**identity)})
        except (AttributeError, KeyError, TypeError) as error:
            raise DamagedArtifact(f"{label} is damaged: its fields are missing or unknown.") from error


class PlanFile(PlanRecord[GeneratePlan]):
    """The stored plan of one run."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        super().__init__(
            artifacts, run_id=run_id, parse=lambda found, label: GeneratePlan.from_json(found, label=label)
        )

    def key(self) -> str | None:
        """The key of the plan; None if the run has no plan of this kind that can be read."""
        try:
            plan = self.load()
        except DamagedArtifact:
            return None
        return None if plan is None else plan.key


def make_plan(spec: GenerateSpec, *, identity: Identity, dataset_sha256: str, n_items: int) -> GeneratePlan:
    """Divide the items into shards. Deterministic."""
    n_each = len(spec.prompt_refs) * spec.n
    items_per_shard = max(1, _shard_samples(spec, n_samples=n_items * n_each) // n_each)
    return GeneratePlan(
        key=_key(spec, identity=identity, dataset_sha256=dataset_sha256, items_per_shard=items_per_shard),
        identity=identity,
        dataset_sha256=dataset_sha256,
        n_items=n_items,
        items_per_shard=items_per_shard,
    )


def _shard_samples(spec: GenerateSpec, *, n_samples: int) -> int:
    if spec.shard_samples is not None:
        return spec.shard_samples
    if spec.teacher is not None:
        return TEACHER_SHARD_SAMPLES
    wanted = min(max(n_samples // N_SHARDS_TARGET, MIN_SHARD_SAMPLES), MAX_SHARD_SAMPLES)
    if spec.logprobs is None:
        return wanted
    sample_bytes = 8 * (1 + spec.logprobs) * spec.max_tokens
    return min(wanted, max(1, MAX_TOP_BYTES // sample_bytes))


def _key(spec: GenerateSpec, *, identity: Identity, dataset_sha256: str, items_per_shard: int) -> str:
    generating = {
        "spec": spec.model_dump(mode="json", exclude=set(_SELECTING)),
        "identity": asdict(identity),
        "dataset_sha256": dataset_sha256,
        "items_per_shard": items_per_shard,
    }
    return hashlib.sha256(json.dumps(generating, sort_keys=True).encode()).hexdigest()
