"""Dry runs: ``POST /v1/runs?dry_run=true``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.service.api.conftest import World
from tests.service.api.run_world import BODY, TUNE, MemoryQueue, start, with_queue, work_on


@pytest.fixture
def queue(world: World) -> MemoryQueue:
    return with_queue(world)


def plan_of(world: World, **changes: Any) -> Any:
    answer = world.client.post("/v1/runs", params={"dry_run": "true"}, json={**BODY, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_dry_run_answers_the_spec_of_the_run_and_stores_nothing(world: World, queue: MemoryQueue) -> None:
    planned = plan_of(world, name="mine")
    assert world.client.get("/v1/runs").json()["data"] == []
    assert queue.line == []
    run = world.client.get(f"/v1/runs/{start(world)}").json()
    assert (planned["kind"], planned["spec"], planned["resolved"]) == ("tune", run["spec"], run["resolved"])
    assert (planned["duration_s"], planned["predicted_from"]) == (None, None)


def test_the_memory_is_at_least_that_of_the_models_embeddings(world: World, queue: MemoryQueue) -> None:
    card = world.client.get("/v1/models/demo").json()
    embeddings = card["vocab_size"] * card["d_model"] * 4
    assert plan_of(world)["memory_bytes"] > embeddings
    larger = plan_of(world, spec={**TUNE, "optimizer": {"batch_size": 64}})
    assert larger["memory_bytes"] > plan_of(world)["memory_bytes"]
    evaluate = {"model": "demo", "prompts": [None], "dataset": "qa"}
    assert plan_of(world, kind="evaluate", spec=evaluate)["memory_bytes"] is None


def test_the_duration_follows_from_the_newest_comparable_run(world: World, queue: MemoryQueue) -> None:
    earlier = start(world, spec={**TUNE, "seeds": [0, 1], "optimizer": {"steps": 10, "batch_size": 4}})
    work_on(world, earlier).finish("succeeded")
    state = world.client.get(f"/v1/runs/{earlier}").json()
    seconds = (datetime.fromisoformat(state["ended_at"]) - datetime.fromisoformat(state["started_at"])).total_seconds()
    spec = {**TUNE, "seeds": [0, 1, 2], "optimizer": {"steps": 20, "batch_size": 8}}
    planned = plan_of(world, spec=spec)
    assert planned["predicted_from"] == earlier
    assert planned["duration_s"] == pytest.approx(seconds * (3 * 20 * 8) / (2 * 10 * 4))
    assert plan_of(world, spec={**spec, "method": {"kind": "steering", "layers": [0]}})["duration_s"] is None


@pytest.mark.parametrize(
    ("changes", "status", "loc"),
    [
        ({"spec": {}}, 422, ["spec", "model"]),
        ({"spec": {**TUNE, "dataset": "nope"}}, 404, ["spec", "dataset"]),
        ({"spec": {**TUNE, "optimizer": {"steps": 0}}}, 422, ["spec", "optimizer", "steps"]),
    ],
)
def test_a_spec_that_cannot_work_is_refused_as_for_a_run(
    world: World, queue: MemoryQueue, changes: dict[str, Any], status: int, loc: list[str]
) -> None:
    dry, real = (
        world.client.post("/v1/runs", params={"dry_run": flag}, json={**BODY, **changes}) for flag in ("true", "false")
    )
    assert dry.status_code == real.status_code == status
    assert dry.json()["errors"] == real.json()["errors"]
    assert dry.json()["errors"][0]["loc"] == loc
