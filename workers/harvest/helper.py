"""Helper of a harvest: computes free shards until none are left or this worker is needed elsewhere."""

from __future__ import annotations

from workers.harvest.context import HarvestContext, read_spec
from workers.harvest.shard_writer import ShardWriter
from workers.harvest.shards.plan import PlanFile
from workers.harvest.shards.store import ShardStore
from workers.running.interface import WorkContext
from workers.running.shards.sharing import free_shards, help_with_shards


def help_harvest(place: WorkContext) -> None:
    """Compute free shards of a harvest; returns at once if it has no plan yet.

    Raises:
        Conflict: Model, prompt or dataset differ from those of the plan.
        NotFound, InvalidRequest, DamagedArtifact, UnsupportedModel: This worker cannot read the model, prompt or dataset.
    """
    plan = PlanFile(place.artifacts, run_id=place.run_id).load()
    if plan is None:
        return
    store = ShardStore(place.artifacts, run_id=place.run_id, shard_format=read_spec(place.spec).format)
    missing = free_shards(place, numbers=(shard.number for shard in plan.shards), store=store)
    if not missing:
        return
    job = HarvestContext.of(place)
    job.require_same(plan)
    help_with_shards(place, missing=missing, write=ShardWriter(job, plan=plan, store=store).write)
