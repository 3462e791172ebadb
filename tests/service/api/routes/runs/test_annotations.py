"""Notes and tags of runs over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.api.conftest import World
from tests.service.api.run_world import MemoryQueue, start, with_queue


@pytest.fixture
def queue(world: World) -> MemoryQueue:
    return with_queue(world)


def test_notes_and_tags_are_set_one_by_one_and_lists_can_be_narrowed_by_a_tag(world: World, queue: MemoryQueue) -> None:
    first, second = start(world), start(world)
    run = world.client.patch(
        f"/v1/runs/{first}", json={"notes": "Too fast.\nAgain.", "tags": ["pilot", "paper"]}
    ).json()
    assert (run["notes"], run["tags"], run["status"]) == ("Too fast.\nAgain.", ["pilot", "paper"], "queued")
    run = world.client.patch(f"/v1/runs/{first}", json={"tags": ["pilot"]}).json()
    assert (run["notes"], run["tags"]) == ("Too fast.\nAgain.", ["pilot"])
    assert world.client.get(f"/v1/runs/{first}").json() == run
    assert (world.client.get(f"/v1/runs/{second}").json()["notes"], run["id"]) == ("", first)
    listed = world.client.get("/v1/runs", params={"tag": "pilot"}).json()["data"]
    assert [(row["id"], row["tags"], row["notes"]) for row in listed] == [(first, ["pilot"], "Too fast.\nAgain.")]
    assert world.client.get("/v1/runs", params={"tag": "paper"}).json()["data"] == []
    assert world.client.get("/v1/runs", params={"tag": "two words"}).status_code == 422


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"notes": "x" * 4001}, ["notes"]),
        ({"notes": 3}, ["notes"]),
        ({"tags": "pilot"}, ["tags"]),
        ({"tags": ["two words"]}, ["tags", 0]),
        ({"tags": ["ok", ""]}, ["tags", 1]),
        ({"tags": ["a,b"]}, ["tags", 0]),
        ({"tags": ["x" * 41]}, ["tags", 0]),
        ({"tags": [f"t{n}" for n in range(17)]}, ["tags"]),
        ({"name": "new"}, ["name"]),
    ],
)
def test_notes_and_tags_have_limits(world: World, queue: MemoryQueue, body: dict[str, Any], loc: list[Any]) -> None:
    run_id = start(world)
    answer = world.client.patch(f"/v1/runs/{run_id}", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)
    run = world.client.get(f"/v1/runs/{run_id}").json()
    assert (run["notes"], run["tags"]) == ("", [])


def test_notes_of_a_run_that_is_not_there(world: World) -> None:
    assert world.client.patch("/v1/runs/run-1k10t9g4v3edf5mv8", json={"notes": "x"}).status_code == 404
