from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from service import errors
from service.api.responses.errors import openai_error, status_of
from service.engine.requests import Failed
from service.hosting.ipc.messages import EstimateCost, Submit, Update
from tests.service.api.conftest import OpenWorld, World

CAPTURE = {"model": "demo", "inputs": ["hi"], "sites": ["resid_post"], "layers": [1]}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequest("x"), 422),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.TooLarge("x"), 413),
        (errors.Busy("x"), 429),
        (errors.Unavailable("x"), 503),
        (errors.DeadlineExceeded("x"), 504),
        (errors.DamagedArtifact("x"), 500),
        (errors.EngineFault("x"), 500),
    ],
)
def test_each_error_of_the_tree_has_its_status(open_world: OpenWorld, error: errors.AtlasError, status: int) -> None:
    def fail(message: Submit | EstimateCost) -> Sequence[Update]:
        return [Failed(request_id=message.request.request_id, error=error)]

    assert status_of(error) == status
    answer = open_world(script=fail).client.post("/v1/activations", json=CAPTURE, headers={"X-Request-ID": "mine"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body == {
        "type": f"urn:promptatlas:problem:{error.title.lower().replace(' ', '-')}",
        "title": error.title,
        "status": status,
        "detail": "x",
        "request_id": "mine",
    }
    assert ("retry-after" in answer.headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("kind", "slug"),
    [
        (errors.EngineUnavailable, "engine-unavailable"),
        (errors.StoreUnavailable, "store-unavailable"),
        (errors.StoreFull, "store-full"),
        (errors.StoreReadOnly, "store-read-only"),
        (errors.TemporaryFilesUnavailable, "temporary-files-unavailable"),
        (errors.QueueUnavailable, "queue-unavailable"),
        (errors.HubUnreachable, "hub-unreachable"),
    ],
)
def test_each_cause_of_a_503_has_its_own_problem_type(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[errors.AtlasError], slug: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise kind("why", retry_after_s=5)

    monkeypatch.setattr(world.services.runs, "list_runs", fail)
    answer = world.client.get("/v1/runs")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    body = answer.json()
    assert (body["type"], body["detail"]) == (f"urn:promptatlas:problem:{slug}", "why")
    openai = openai_error(kind("why")).error
    assert (openai.type, openai.code) == ("server_error", slug.replace("-", "_"))


def test_an_engines_complaint_says_where_it_is(open_world: OpenWorld) -> None:
    def fail(message: Submit | EstimateCost) -> Sequence[Update]:
        error = errors.InvalidRequest("no such layer", loc=("layers", 0))
        return [Failed(request_id=message.request.request_id, error=error)]

    body = open_world(script=fail).client.post("/v1/activations", json=CAPTURE).json()
    assert body["errors"] == [{"loc": ["layers", 0], "msg": "no such layer"}]


def test_invalid_fields_are_listed_without_what_was_sent(world: World) -> None:
    answer = world.client.post("/v1/activations", json={**CAPTURE, "layers": ["hush"], "hidden": "hush"})
    body = answer.json()
    assert answer.status_code == 422
    assert {item["loc"][0] for item in body["errors"]} == {"layers", "hidden"}
    assert "hush" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("DELETE", "/health", 405), ("GET", "/v1/models/", 404), ("GET", "/docs", 404)],
)
def test_routes_that_are_not_there_are_problems_too(world: World, method: str, path: str, status: int) -> None:
    answer = world.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_a_fault_of_ours_shows_nothing_of_the_inside(open_world: OpenWorld) -> None:
    def explode(_message: object) -> Any:
        raise RuntimeError("/secret/path")

    world = open_world()
    world.end.send = explode  # type: ignore[method-assign, assignment]
    with structlog.testing.capture_logs() as logs:
        answer = world.client.post("/v1/activations", json=CAPTURE, headers={"X-Request-ID": "mine"})
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["request failed"]
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json()["request_id"] == "mine"
    assert "secret" not in answer.text


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "é"])
def test_a_request_gets_an_id_of_ours_when_it_has_no_good_one(world: World, given: str) -> None:
    ids = {
        world.client.get("/health", headers={b"X-Request-ID": given.encode("latin-1")}).headers["x-request-id"]
        for _ in range(2)
    }
    assert len(ids) == 2
    assert given not in ids


def test_a_large_body_is_refused_with_the_limit(open_world: OpenWorld) -> None:
    world = open_world(max_body_bytes=2048, max_upload_bytes=4096)
    answer = world.client.post("/v1/activations", content=b"x" * 2049)
    assert answer.status_code == 413
    assert "2,048" in answer.json()["detail"]
    upload = {"Content-Type": "application/octet-stream"}
    assert world.client.post("/v1/prompts?name=a", content=b"x" * 4096, headers=upload).status_code == 422
    assert world.client.post("/v1/prompts?name=a", content=b"x" * 4097, headers=upload).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"])
def test_bodies_of_other_types_are_refused(world: World, kind: str) -> None:
    answer = world.client.post("/v1/activations", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": "\\ud800"}', b"\xff"])
def test_what_is_no_json_object_is_invalid(world: World, body: bytes) -> None:
    answer = world.client.post("/v1/activations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon"])
def test_a_timeout_must_be_seconds(world: World, given: str) -> None:
    answer = world.client.post("/v1/activations", json=CAPTURE, headers={"X-Request-Timeout": given})
    assert answer.status_code == 422
    assert "X-Request-Timeout" in answer.json()["detail"]


def test_past_the_deadline_the_engine_is_told_to_stop(open_world: OpenWorld) -> None:
    world = open_world(script=lambda _message: [])
    answer = world.client.post("/v1/activations", json=CAPTURE, headers={"X-Request-Timeout": "0.01"})
    assert answer.status_code == 504
    submit, cancel = world.end.received
    assert cancel.request_id == submit.request.request_id  # type: ignore[union-attr]


def test_the_servers_cap_wins_over_a_longer_timeout(open_world: OpenWorld) -> None:
    world = open_world(script=lambda _message: [], max_timeout_s=0.01)
    assert world.client.post("/v1/activations", json=CAPTURE, headers={"X-Request-Timeout": "99"}).status_code == 504
