from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import pytest

from service.settings import ApiKey
from tests.service.api.conftest import OpenWorld, World
from tests.service.api.run_world import BODY, TUNE, MemoryQueue, start, with_queue, work_on


@pytest.fixture
def queue(world: World) -> MemoryQueue:
    return with_queue(world)


def test_a_run_is_stored_complete_and_waits_in_line(world: World, queue: MemoryQueue) -> None:
    answer = world.client.post("/v1/runs", json={**BODY, "name": "mine"})
    run = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"
    assert queue.line == [(run["id"], 1)]
    assert (run["kind"], run["name"], run["status"], run["queue_position"]) == ("tune", "mine", "queued", 0)
    assert (run["attempts"], run["resumable"], run["error"], run["artifacts"]) == (0, False, None, [])
    assert run["spec"]["optimizer"]["steps"] == 1000
    assert run["resolved"] == {"base_revision": "rev-demo", "datasets": {"qa": "sha256:qa"}, "prompts": {}}
    assert world.client.get(answer.headers["location"]).json() == run
    assert start(world, spec=run["spec"]) != run["id"]


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do(world: World, queue: MemoryQueue) -> None:
    answer = world.client.post("/v1/runs", json={**BODY, "kind": "teach"})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["loc"] == ["kind"]
    assert "'tune', 'distill', 'evaluate', 'generate', 'batch', 'harvest', 'map', 'report' or 'sample'" in error["msg"]
    assert queue.line == []


@pytest.mark.parametrize(
    ("body", "status", "loc"),
    [
        ({**BODY, "kind": "dance"}, 422, ["kind"]),
        ({"kind": "tune"}, 422, ["spec"]),
        ({"kind": "tune", "spec": {}}, 422, ["spec", "model"]),
        ({"kind": "tune", "spec": []}, 422, ["spec"]),
        ({**BODY, "name": ""}, 422, ["name"]),
        ({**BODY, "extra": 1}, 422, ["extra"]),
        ({"kind": "tune", "spec": {**TUNE, "model": "nope"}}, 404, ["spec", "model"]),
        ({"kind": "tune", "spec": {**TUNE, "dataset": "nope"}}, 404, ["spec", "dataset"]),
        (
            {"kind": "tune", "spec": {**TUNE, "method": {"kind": "deep", "layers": [9]}}},
            422,
            ["spec", "method", "layers", 0],
        ),
        (
            {"kind": "tune", "spec": {**TUNE, "method": {"kind": "deep", "layers": ["x"]}}},
            422,
            ["spec", "method", "layers", 0],
        ),
        (
            {"kind": "evaluate", "spec": {"model": "demo", "dataset": "text", "prompts": [None], "metrics": ["f1"]}},
            422,
            ["spec", "metrics", 0],
        ),
        (
            {"kind": "sample", "spec": {"model": "demo", "prior": {"kind": "isotropic"}, "layer": 3}},
            422,
            ["spec", "layer"],
        ),
    ],
)
def test_what_cannot_work_is_refused_and_not_stored(
    world: World, queue: MemoryQueue, body: Any, status: int, loc: list[Any]
) -> None:
    answer = world.client.post("/v1/runs", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["loc"] == loc
    assert world.client.get("/v1/runs").json()["data"] == []
    assert queue.line == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"kind":"tune","spec":{"seeds":[' + b"9" * 5000 + b"]}}"])
def test_bytes_that_are_no_request_are_refused(world: World, queue: MemoryQueue, content: bytes) -> None:
    answer = world.client.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_the_same_request_under_one_key_is_one_run(world: World, queue: MemoryQueue) -> None:
    first, again = (world.client.post("/v1/runs", json=BODY, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (again.status_code, again.json(), again.headers["location"]) == (
        202,
        first.json(),
        first.headers["location"],
    )
    assert again.headers["idempotent-replayed"] == "true"
    assert len(queue.line) == 1


def test_without_a_queue_nothing_is_stored(world: World) -> None:
    with_queue(world)
    without = {**vars(world.services), "queue": None}
    world.client.app.state.services = type(world.services)(**without)  # type: ignore[attr-defined]
    answer = world.client.post("/v1/runs", json=BODY)
    assert answer.status_code == 503
    assert "PROMPTATLAS_REDIS_URL" in answer.json()["detail"]
    assert world.client.get("/v1/runs").json()["data"] == []


def test_while_the_queue_is_away_runs_are_stored_all_the_same(world: World, queue: MemoryQueue) -> None:
    queue.is_away = True
    run_id = start(world)
    found = world.client.get(f"/v1/runs/{run_id}").json()
    assert (found["status"], found["queue_position"]) == ("queued", None)
    assert world.client.get("/v1/runs").json()["data"][0]["id"] == run_id
    assert world.client.post(f"/v1/runs/{run_id}/cancel").json()["status"] == "cancelled"
    assert world.client.post(f"/v1/runs/{run_id}/resume").status_code == 202


def test_before_the_engine_was_ready_no_spec_can_be_checked(open_world: OpenWorld) -> None:
    world = open_world(ready=False)
    with_queue(world)
    assert world.client.post("/v1/runs", json=BODY).status_code == 503


def test_the_list_is_newest_first_and_can_be_narrowed(world: World, queue: MemoryQueue) -> None:
    first, second = start(world), start(world)
    third = world.client.post("/v1/priors/sample", json={"model": "demo", "prior": {"kind": "xavier"}}).json()["id"]
    world.client.post(f"/v1/runs/{first}/cancel")
    page = world.client.get("/v1/runs?limit=2").json()
    assert [run["id"] for run in page["data"]] == [third, second]
    assert [run["queue_position"] for run in page["data"]] == [1, 0]
    rest = world.client.get(f"/v1/runs?limit=2&after={page['next']}").json()
    assert [run["id"] for run in rest["data"]] == [first]
    assert not rest["has_more"]
    for query, ids in (("kind=sample", [third]), ("status=cancelled", [first]), ("kind=map", [])):
        assert [run["id"] for run in world.client.get(f"/v1/runs?{query}").json()["data"]] == ids
    for query in ("kind=dance", "status=lost", "limit=0", "after=nope"):
        assert world.client.get(f"/v1/runs?{query}").status_code == 422


def test_a_queued_run_is_cancelled_at_once_and_leaves_the_line(world: World, queue: MemoryQueue) -> None:
    run_id = start(world)
    cancelled = world.client.post(f"/v1/runs/{run_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"], cancelled.json()["resumable"]) == (
        200,
        "cancelled",
        True,
    )
    assert queue.line == []
    assert world.client.post(f"/v1/runs/{run_id}/cancel").status_code == 409
    assert queue.ended_in_line == [("tune", "cancelled")]


def test_a_running_run_is_asked_to_stop(world: World, queue: MemoryQueue) -> None:
    run_id = start(world)
    writer = work_on(world, run_id)
    assert world.client.post(f"/v1/runs/{run_id}/cancel").json()["status"] == "running"
    writer.require_current()
    assert writer.cancel_requested


def test_a_failed_run_is_resumed_for_its_next_attempt(world: World, queue: MemoryQueue) -> None:
    run_id = start(world)
    work_on(world, run_id).finish("failed", error="It broke.")
    failed = world.client.get(f"/v1/runs/{run_id}").json()
    assert (failed["status"], failed["error"], failed["resumable"], failed["attempts"]) == (
        "failed",
        "It broke.",
        True,
        1,
    )
    headers = {"Idempotency-Key": "again"}
    resumed, replayed = (world.client.post(f"/v1/runs/{run_id}/resume", headers=headers) for _ in range(2))
    assert (resumed.status_code, resumed.json()["status"], resumed.json()["error"]) == (202, "queued", None)
    assert replayed.json() == resumed.json()
    assert queue.line[-1] == (run_id, 2)
    assert world.client.post(f"/v1/runs/{run_id}/resume").status_code == 409


def test_a_run_that_has_ended_can_be_deleted(world: World, queue: MemoryQueue) -> None:
    run_id = start(world)
    refused = world.client.delete(f"/v1/runs/{run_id}")
    assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")
    assert "cancel it first" in refused.json()["detail"]
    writer = work_on(world, run_id)
    assert world.client.delete(f"/v1/runs/{run_id}").status_code == 409
    writer.put_output("report.html", b"page")
    writer.finish("succeeded")
    assert world.client.get(f"/v1/runs/{run_id}/artifacts/report.html").status_code == 200
    deleted = world.client.delete(f"/v1/runs/{run_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for route in ("", "/events", "/metrics", "/artifacts", "/artifacts/report.html"):
        assert world.client.get(f"/v1/runs/{run_id}{route}").status_code == 404
    assert world.client.get("/v1/runs").json()["data"] == []
    assert world.client.delete(f"/v1/runs/{run_id}").status_code == 404


def test_only_admins_delete_runs(open_world: OpenWorld) -> None:
    digests = {scope: hashlib.sha256(scope.encode()).hexdigest() for scope in ("write", "admin")}
    keys = tuple(ApiKey(name=scope, scope=scope, sha256=digest) for scope, digest in digests.items())  # type: ignore[arg-type]
    world = open_world(api_keys=keys)
    statuses = [
        world.client.delete("/v1/runs/nope", headers={"X-API-Key": scope}).status_code for scope in ("write", "admin")
    ]
    assert statuses == [403, 404]


def test_curves_come_whole(world: World, queue: MemoryQueue) -> None:
    run_id = start(world)
    writer = work_on(world, run_id)
    writer.emit("metric", {"step": 1, "member": "a", "loss": 0.5})
    writer.emit("metric", {"step": 2, "member": "a", "loss": 0.25})
    writer.flush()
    curve = world.client.get(f"/v1/runs/{run_id}/metrics").json()
    times = [datetime.fromisoformat(point.pop("time")) for point in curve["data"]]
    assert datetime.fromisoformat(world.client.get(f"/v1/runs/{run_id}").json()["started_at"]) <= times[0] <= times[1]
    assert curve == {
        "object": "list",
        "has_more": False,
        "next": None,
        "data": [{"step": 1, "member": "a", "loss": 0.5}, {"step": 2, "member": "a", "loss": 0.25}],
    }


def test_a_run_says_what_has_become_of_it(world: World, queue: MemoryQueue) -> None:
    run_id = start(world)
    writer = work_on(world, run_id)
    writer.set_progress(5, total=10, eta_s=1.5)
    writer.add_prompt("qa@1")
    writer.put_output("draws/qa@1.safetensors", b"abc")
    writer.flush()
    running = world.client.get(f"/v1/runs/{run_id}").json()
    assert (running["status"], running["progress"]) == ("running", {"step": 5, "total": 10, "eta_s": 1.5})
    assert (running["prompts"], running["attempts"], running["queue_position"]) == (["qa@1"], 1, None)
    assert [(item["path"], item["n_bytes"]) for item in running["artifacts"]] == [("draws/qa@1.safetensors", 3)]
    writer.finish("succeeded", metrics={"test/f1": 0.5})
    ended = world.client.get(f"/v1/runs/{run_id}").json()
    assert (ended["status"], ended["metrics"], ended["resumable"]) == ("succeeded", {"test/f1": 0.5}, False)
    assert ended["started_at"] <= ended["ended_at"]
    assert world.client.post(f"/v1/runs/{run_id}/cancel").status_code == 409


@pytest.mark.parametrize("run_id", ["run-00000000000000000", "nope", "..%2F..%2Fprompts", "%00", "a" * 90])
@pytest.mark.parametrize("route", ["", "/events", "/metrics", "/artifacts", "/artifacts/x"])
def test_a_run_that_is_not_there_is_not_found(world: World, run_id: str, route: str) -> None:
    assert world.client.get(f"/v1/runs/{run_id}{route}").status_code == 404


def test_looking_needs_less_of_a_key_than_starting(open_world: OpenWorld) -> None:
    digest = hashlib.sha256(b"look").hexdigest()
    world = open_world(api_keys=(ApiKey(name="r", scope="read", sha256=digest),))
    with_queue(world)
    headers = {"X-API-Key": "look"}
    assert world.client.get("/v1/runs", headers=headers).status_code == 200
    assert world.client.get("/v1/runs/nope/events", headers=headers).status_code == 404
    for url in ("/v1/runs", "/v1/priors/sample", "/v1/runs/nope/cancel", "/v1/runs/nope/resume"):
        assert world.client.post(url, json=BODY, headers=headers).status_code == 403
        assert world.client.post(url, json=BODY).status_code == 401
    for route in ("", "/nope", "/nope/events", "/nope/metrics", "/nope/artifacts", "/nope/artifacts/x"):
        assert world.client.get(f"/v1/runs{route}").status_code == 401


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_nor_can_it_be_changed(world: World, queue: MemoryQueue, verb: str) -> None:
    assert world.client.post(f"/v1/runs/nope/{verb}").status_code == 404


def test_a_sample_is_a_run_of_its_kind(world: World, queue: MemoryQueue) -> None:
    body = {
        "model": "demo",
        "prior": {"kind": "interpolation", "from": {"kind": "isotropic"}, "to": {"kind": "xavier"}},
    }
    answer = world.client.post("/v1/priors/sample", json=body, headers={"Idempotency-Key": "k"})
    run = answer.json()
    assert (answer.status_code, run["kind"]) == (202, "sample")
    assert run["spec"] == {
        "model": "demo",
        "n": 20,
        "seed": 0,
        "layer": None,
        "prior": {"kind": "interpolation", "from": {"kind": "isotropic", "std": 0.02}, "to": {"kind": "xavier"}},
    }
    assert world.client.post("/v1/priors/sample", json=body, headers={"Idempotency-Key": "k"}).json() == run


@pytest.mark.parametrize(
    ("changes", "status", "loc"),
    [
        ({"prior": {"kind": "isotropic", "std": 0}}, 422, ["prior", "isotropic", "std"]),
        (
            {"prior": {"kind": "gaussian", "fit": {"activations": {"dataset": "qa", "layer": 3}}}},
            422,
            ["prior", "fit", "activations", "layer"],
        ),
        (
            {"prior": {"kind": "gaussian", "fit": {"embeddings": {"dataset": "nope"}}}},
            404,
            ["prior", "fit", "embeddings", "dataset"],
        ),
        ({"model": "nope"}, 404, ["model"]),
        ({"n": 0}, 422, ["n"]),
    ],
)
def test_a_sample_that_cannot_be_drawn_is_refused(
    world: World, queue: MemoryQueue, changes: Any, status: int, loc: list[Any]
) -> None:
    answer = world.client.post("/v1/priors/sample", json={"model": "demo", "prior": {"kind": "xavier"}, **changes})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (status, loc)
    assert queue.line == []
