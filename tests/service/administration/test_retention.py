"""Limits by age and size; what is referenced, running, or may be resumed stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.administration.growth.retention import Retention, limits_of
from service.administration.growth.sweep import RetentionSweep
from service.administration.inventory import Inventory
from service.errors import Expired
from service.settings import Settings, SettingsError
from service.settings.keeping import KEEP_ALL, Keep, Kept, parse_keep
from service.store.maps.store import MapStore
from tests.service.administration.full_store import PROMPT_REFS, FullStore

DAY = Keep(age=timedelta(days=1))
ALL: dict[Kept, Keep] = dict.fromkeys(("events", "checkpoints", "outputs", "harvests", "maps"), DAY)


def plan(store: FullStore, limits: dict[Kept, Keep]) -> dict[str, list[str]]:
    """What is to expire, by run."""
    retention = Retention(store.artifacts, limits=limits, clock=store.clock)
    found = retention.plan(Inventory(store.files))
    return {item.run_id: [part.path or part.part for part in item.parts] for item in found}


def apply(store: FullStore, limits: dict[Kept, Keep]) -> dict[str, list[str]]:
    retention = Retention(store.artifacts, limits=limits, clock=store.clock)
    done = retention.apply(retention.plan(Inventory(store.files)))
    return {item.run_id: [part.path or part.part for part in item.parts] for item in done}


def test_nothing_expires_by_default(full: FullStore) -> None:
    full.fill()
    full.clock.advance(days=10_000)
    assert plan(full, {}) == {}
    assert plan(full, dict.fromkeys(ALL, KEEP_ALL)) == {}
    assert set(limits_of(Settings.from_environ({})).values()) == {KEEP_ALL}


def test_by_age_all_that_has_ended_expires_and_prompts_stay(full: FullStore) -> None:
    full.fill()
    prompts = {ref: full.prompts.content(full.prompts.resolve(ref)) for ref in PROMPT_REFS}
    full.clock.advance(hours=23)
    assert plan(full, ALL) == {}
    full.clock.advance(hours=2)
    listed = plan(full, ALL)
    assert set(listed) == {full.tuned, full.harvested, full.mapped, full.failed}
    assert apply(full, ALL) == listed
    assert plan(full, ALL) == {}
    assert {ref: full.prompts.content(full.prompts.resolve(ref)) for ref in PROMPT_REFS} == prompts
    assert full.datasets.get("pairs").n_records == 3
    for run_id in listed:
        assert full.runs.outputs(run_id) == []
        assert {part.part for part in full.runs.expired(run_id)} == {"artifact", "checkpoints", "events"}
        assert full.runs.get(run_id)[1].metrics == {"loss": 0.25}
    with pytest.raises(Expired):
        MapStore(full.artifacts, runs=full.runs).get(full.mapped)
    assert MapStore(full.artifacts, runs=full.runs).list_maps().items == []
    # The running run is as it was, and goes on.
    assert len(full.runs.metrics(full.running)) == 3
    assert full.writer.load_checkpoint() == {"state.bin": b"state" * 20}
    assert full.runs.read_output(full.running, "spec.json")
    full.writer.finish("succeeded")


def test_each_class_has_its_own_limit(local: FullStore) -> None:
    local.fill()
    local.clock.advance(days=2)
    assert plan(local, {"harvests": DAY}) == {local.harvested: ["manifest.json", "shards/00000.safetensors"]}
    assert plan(local, {"maps": DAY}) == {local.mapped: ["map.json", "points.0.safetensors"]}
    assert plan(local, {"outputs": DAY})[local.tuned] == ["draws/qa@1.safetensors", "report.json"]
    assert set(plan(local, {"checkpoints": DAY})) == {local.tuned, local.harvested, local.mapped, local.failed}
    assert plan(local, {"events": DAY})[local.tuned] == ["events"]


def test_by_size_the_oldest_go_first_until_the_rest_fits(local: FullStore) -> None:
    ids = []
    for _ in range(4):
        ids.append(local.ended("harvest", outputs=("shards/0",)))
        local.clock.advance(hours=1)
    local.clock.advance(hours=2)
    one = Inventory(local.files).n_bytes(f"runs/{ids[0]}/outputs")
    assert list(plan(local, {"harvests": Keep(n_bytes=2 * one)})) == ids[:2]
    assert list(plan(local, {"harvests": Keep(n_bytes=2 * one - 1)})) == ids[:3]
    assert plan(local, {"harvests": Keep(n_bytes=4 * one)}) == {}
    assert list(apply(local, {"harvests": Keep(n_bytes=one)})) == ids[:3]
    assert plan(local, {"harvests": Keep(n_bytes=one)}) == {}


def test_the_size_never_ends_the_time_in_which_a_run_can_be_resumed(local: FullStore) -> None:
    failed = local.ended("tune", status="failed", outputs=("spec.json",))
    local.clock.advance(days=2)
    nothing = Keep(n_bytes=0)
    assert plan(local, dict.fromkeys(ALL, nothing)) == {}
    # Outputs that a checkpoint may need stay as long as the checkpoint.
    assert plan(local, {"outputs": DAY}) == {}
    assert plan(local, {"outputs": DAY, "checkpoints": DAY}) == {failed: ["spec.json", "checkpoints"]}
    assert plan(local, {"checkpoints": DAY}) == {failed: ["checkpoints"]}


def test_a_run_that_has_just_ended_stays_whatever_the_size(local: FullStore) -> None:
    local.ended("harvest", outputs=("shards/0",))
    local.clock.advance(minutes=59)
    assert plan(local, {"harvests": Keep(n_bytes=0)}) == {}
    local.clock.advance(minutes=2)
    assert len(plan(local, {"harvests": Keep(n_bytes=0)})) == 1


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled", "map", "report"])
def test_what_is_referred_to_stays(local: FullStore, status: Any) -> None:
    harvest, other = (local.ended("harvest", outputs=("shards/0",)) for _ in range(2))
    fitted = local.ended("map", outputs=("map.json",))
    tuned = local.ended("tune", outputs=("draws/qa@1.safetensors",), prompts=("qa@1",))
    spec = {"reduce": {"project": fitted}, "sources": [{"harvest": harvest}, {"prompts": ["qa"]}]}
    if status in ("queued", "running"):
        run_id = local.runs.create("report", spec=spec).id
        if status == "running":
            local.runs.claim(run_id, worker="w")
    elif status in ("map", "report"):
        local.ended(status, spec=spec, outputs=("map.json",))
    else:
        local.ended("report", status=status, spec=spec)
    local.clock.advance(days=2)
    limits: dict[Kept, Keep] = {"harvests": DAY, "maps": DAY, "outputs": DAY}
    listed = plan(local, limits)
    assert other in listed
    assert not {harvest, fitted, tuned} & set(listed)


def test_prompts_are_followed_by_their_hash_as_well(local: FullStore) -> None:
    tuned = local.ended("tune", outputs=("draws/qa@1.safetensors",), prompts=("qa@1",))
    manifest, _ = local.prompts.create("qa", prompt=local.soft(1))
    local.runs.create("map", spec={"sources": [{"prompts": [manifest.sha256, "sha256:..", "sha256:"]}]})
    local.clock.advance(days=2)
    assert tuned not in plan(local, {"outputs": DAY})


def test_a_run_that_is_resumed_between_plan_and_removal_loses_nothing(local: FullStore) -> None:
    failed = local.ended("tune", status="failed", outputs=("spec.json",))
    local.clock.advance(days=2)
    retention = Retention(local.artifacts, limits=ALL, clock=local.clock)
    planned = retention.plan(Inventory(local.files))
    assert [item.run_id for item in planned] == [failed]
    local.runs.resume(failed)
    assert list(retention.apply(planned)) == []
    assert local.runs.claim(failed, worker="w").load_checkpoint() is not None
    assert local.runs.read_output(failed, "spec.json")


def test_a_damaged_run_does_not_stop_the_others(local: FullStore, tmp_path: Path) -> None:
    ids = [local.ended("harvest", outputs=("shards/0",)) for _ in range(2)]
    local.clock.advance(days=2)
    retention = Retention(local.artifacts, limits=ALL, clock=local.clock)
    planned = retention.plan(Inventory(local.files))
    for path in (tmp_path / "home" / "runs" / ids[0] / "events").iterdir():
        path.write_bytes(b"?")
    assert [item.run_id for item in retention.apply(planned)] == ids[1:]


def test_a_sweep_applies_the_limits_of_the_settings(local: FullStore, tmp_path: Path) -> None:
    sweep = RetentionSweep(Settings(home=str(tmp_path / "home"), keep_harvests=DAY), clock=local.clock)
    assert sweep.run() == 0
    local.ended("harvest", outputs=("shards/0", "manifest.json"))
    local.clock.advance(days=2)
    assert (sweep.run(), sweep.run()) == (2, 0)
    assert RetentionSweep(Settings(home=str(tmp_path / "none")), clock=local.clock).run() == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("30d", Keep(age=timedelta(days=30))),
        ("12h", Keep(age=timedelta(hours=12))),
        ("0GiB", Keep(n_bytes=0)),
        ("500MiB, 2d", Keep(age=timedelta(days=2), n_bytes=500 << 20)),
        ("3KiB", Keep(n_bytes=3072)),
        ("1TiB", Keep(n_bytes=1 << 40)),
    ],
)
def test_limits_are_written_with_units(text: str, keep: Keep) -> None:
    assert parse_keep(text) == keep
    assert Settings.from_environ({"PROMPTATLAS_KEEP_MAPS": text}).keep_maps == keep


@pytest.mark.parametrize("text", ["30", "d", "0d", "30d,12h", "1GiB,2GiB", "30d;1GiB", "-1d", "1.5d", "30D", "30d,"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(
        SettingsError, match=r"PROMPTATLAS_KEEP_EVENTS: expected an age .* for example 30d,200GiB, got '"
    ):
        Settings.from_environ({"PROMPTATLAS_KEEP_EVENTS": text})
