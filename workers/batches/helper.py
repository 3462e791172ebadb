"""Helper of a batch: answers free shards until none are left or this worker is needed elsewhere."""

from __future__ import annotations

from workers.batches.plan import PlanFile
from workers.batches.run import read_spec, store_of
from workers.batches.shard_writer import ShardWriter
from workers.running.interface import WorkContext
from workers.running.shards.sharing import free_shards, help_with_shards


def help_batch(place: WorkContext) -> None:
    """Answer free shards of a batch; returns at once if it has no plan yet.

    Raises:
        Conflict: The model's weights differ from those of the plan.
        NotFound, DamagedArtifact, UnsupportedModel: This worker cannot read the model or the file.
    """
    plan = PlanFile(place.artifacts, run_id=place.run_id).load()
    if plan is None:
        return
    store = store_of(place)
    missing = free_shards(place, numbers=range(plan.n_shards), store=store)
    if missing:
        writer = ShardWriter(place, spec=read_spec(place.spec), plan=plan, store=store)
        help_with_shards(place, missing=missing, write=writer.write)
