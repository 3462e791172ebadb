"""Several workers at one harvest: who does what, and that it makes no difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict
from tests.service.engine.contract import World
from tests.workers.harvest.field import FakeCoordinator, Field, SharedFakeRun
from workers.harvest.context import HarvestContext
from workers.harvest.helper import help_harvest
from workers.harvest.run import harvest
from workers.harvest.shards.plan import PlanFile
from workers.harvest.shards.store import ShardStore
from workers.harvest.shards.table import table_of
from workers.running.interface import RunStopped
from workers.running.shards import sharing

N_SHARDS = 7


def planned(field: Field, *, coordinator: FakeCoordinator | None = None, **spec: Any) -> SharedFakeRun:
    """A run whose plan is made, but none of its shards."""
    run = field.run(shard_bytes=4096, coordinator=coordinator, **spec)
    PlanFile(field.artifacts, run_id=run.run_id).save(HarvestContext.of(run).plan())
    return run


def numbers(field: Field) -> list[int]:
    """Of the shards that are there."""
    return [int(path[7:12]) for path in field.shard_hashes()]


def whole(llama: World, folder: Path) -> dict[str, str]:
    """What one worker alone makes."""
    field = Field(llama, folder)
    harvest(field.run(shard_bytes=4096))
    return field.shard_hashes()


def test_a_helper_makes_the_same_shards(field: Field, llama: World, tmp_path: Path) -> None:
    run = planned(field)
    help_harvest(run)
    assert numbers(field) == list(range(N_SHARDS))
    assert run.outputs == {}
    assert field.shard_hashes() == whole(llama, tmp_path / "whole")


def test_shards_of_helpers_are_not_done_again(field: Field, llama: World, tmp_path: Path) -> None:
    helper = planned(field, coordinator=FakeCoordinator(taken={"0", "3"}))
    help_harvest(helper)
    assert numbers(field) == [1, 2, 4, 5, 6]
    run = field.run(shard_bytes=4096)
    metrics = harvest(run)
    assert run.coordinator.had == ["0", "3"]  # type: ignore[attr-defined]
    # They were there before this attempt began.
    assert metrics["n_shards_by_helpers"] == 0
    assert field.shard_hashes() == whole(llama, tmp_path / "whole")


def test_a_helper_leaves_when_runs_wait(field: Field) -> None:
    run = planned(field, coordinator=FakeCoordinator(needed_after=2))
    help_harvest(run)
    assert numbers(field) == [0, 1]


def test_a_helper_has_nothing_to_do_without_a_plan_or_when_all_is_taken(field: Field) -> None:
    run = field.run(shard_bytes=4096)
    run.models = {}
    help_harvest(run)
    planned(field)
    run.coordinator = FakeCoordinator(taken={str(number) for number in range(N_SHARDS)})
    help_harvest(run)
    assert numbers(field) == []


def test_a_helper_with_another_model_does_nothing(field: Field) -> None:
    run = planned(field)
    file = PlanFile(field.artifacts, run_id=run.run_id)
    plan = file.load()
    assert plan is not None
    file.save(type(plan)(**{**vars(plan), "revision": "another"}))
    with pytest.raises(Conflict, match="model's weights changed"):
        help_harvest(run)
    assert numbers(field) == []


def test_a_helper_stops_when_told(field: Field) -> None:
    run = planned(field)
    run.n_checks, run.stop_at = 0, 4
    with pytest.raises(RunStopped):
        help_harvest(run)
    assert len(numbers(field)) < N_SHARDS


class Absent(FakeCoordinator):
    """Others have some parts, and let go of them at the third look at who has what."""

    n_looks = 0

    def unleased(self, parts: Sequence[str]) -> Sequence[str]:
        self.n_looks += 1
        if self.n_looks > N_SHARDS + 3:
            self.taken.clear()
        return super().unleased(parts)


def test_parts_of_helpers_that_died_are_taken_over(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "POLL_INTERVAL_S", 0.0)
    coordinator = Absent(taken={"2", "5"})
    run = field.run(shard_bytes=4096, coordinator=coordinator)
    metrics = harvest(run)
    assert coordinator.had == ["0", "1", "3", "4", "6", "2", "5"]
    assert numbers(field) == list(range(N_SHARDS))
    assert metrics["n_shards_by_helpers"] == 0


class Busy(FakeCoordinator):
    """Another worker has shard 4 and writes it while this one does the last."""

    other: SharedFakeRun | None = None

    @contextmanager
    def lease(self, part: str) -> Iterator[bool]:
        with super().lease(part) as has_it:
            yield has_it
        if part == "6" and self.other is not None:
            other, self.other = self.other, None
            help_harvest(other)


def test_what_others_write_meanwhile_is_found(field: Field) -> None:
    coordinator = Busy(taken={"4"})
    run = field.run(shard_bytes=4096, coordinator=coordinator)
    coordinator.other = field.run(shard_bytes=4096, coordinator=FakeCoordinator(taken=set("012356")))
    metrics = harvest(run)
    assert metrics["n_shards_by_helpers"] == 1
    assert coordinator.had == ["0", "1", "2", "3", "5", "6"]
    total = int(metrics["n_tokens"])
    assert run.steps[-1] == (total, total)
    assert sorted(run.steps) == run.steps


def test_a_shard_that_two_have_written_is_the_first_ones(field: Field) -> None:
    first = planned(field)
    help_harvest(first)
    before = {name: field.artifacts.get(f"runs/run-1/outputs/{name}", label="x") for name in outputs_of(field)}
    store = ShardStore(field.artifacts, run_id="run-1", shard_format="safetensors")
    job = HarvestContext.of(first)
    plan = PlanFile(field.artifacts, run_id="run-1").load()
    assert plan is not None
    shard = plan.shards[0]
    texts = [text for text in job.reader.encode(list(job.examples())[: shard.n_examples]) if text is not None]
    rows = job.reader.read(texts, longest=plan.longest)
    store.put(0, table_of(rows, shard=shard, reader=job.reader, run_id="run-1"))
    after = {name: field.artifacts.get(f"runs/run-1/outputs/{name}", label="x") for name in outputs_of(field)}
    assert after == before


def outputs_of(field: Field) -> list[str]:
    return field.artifacts.names("runs/run-1/outputs")
