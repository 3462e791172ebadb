"""Helper of a ``generate`` run: generates free shards until none are left or this worker is needed elsewhere."""

from __future__ import annotations

from workers.generate.context import GenerateContext, read_spec, shards_of
from workers.generate.plan import PlanFile
from workers.generate.shard_writer import ShardWriter
from workers.running.interface import WorkContext
from workers.running.shards.sharing import free_shards, help_with_shards


def help_generate(place: WorkContext) -> None:
    """Generate free shards; returns at once if the run has no plan yet, or samples from a teacher.

    Raises:
        Conflict: Model, prompts or dataset differ from those of the plan.
        NotFound, InvalidRequest, DamagedArtifact, UnsupportedModel: This worker cannot read the model, a prompt or the dataset.
    """
    spec = read_spec(place.spec)
    plan = PlanFile(place.artifacts, run_id=place.run_id).load()
    if plan is None or spec.teacher is not None:
        return
    store = shards_of(place, spec=spec)
    missing = free_shards(place, numbers=range(plan.n_shards), store=store)
    if not missing:
        return
    job = GenerateContext.of(place)
    job.require_same(plan)
    help_with_shards(place, missing=missing, write=ShardWriter(job, plan=plan, store=store).write)
