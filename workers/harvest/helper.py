"""Helping with a harvest: shards that nobody has, until there are none or this worker is needed elsewhere."""

from __future__ import annotations

from workers.harvest.context import HarvestContext, read_spec
from workers.harvest.plan import PlanFile
from workers.harvest.shards.store import ShardStore
from workers.harvest.shards.worker import ShardWork
from workers.running.interface import WorkContext


def help_harvest(place: WorkContext) -> None:
    """Do what can be done of a harvest whose plan is made.

    Raises:
        Conflict: what this worker would read is not what the plan is of.
        NotFound, InvalidRequest, DamagedArtifact, UnsupportedModel: this worker cannot read it.
    """
    plan = PlanFile(place.artifacts, run_id=place.run_id).load()
    if plan is None:
        return
    store = ShardStore(place.artifacts, run_id=place.run_id, shard_format=read_spec(place.spec).format)
    numbers = {shard.number for shard in plan.shards}
    missing = numbers - set(store.find_all(numbers))
    if not place.coordinator.unleased([str(number) for number in sorted(missing)]):
        return
    job = HarvestContext.of(place)
    job.require_same(plan)

    def may_go_on() -> bool:
        place.check()
        return not place.coordinator.runs_are_waiting()

    work = ShardWork(job, plan=plan, store=store)
    work.go_through(missing, before=may_go_on, done=lambda shard, output: None)
