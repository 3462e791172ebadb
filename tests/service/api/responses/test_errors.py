from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from promptatlas.types import ActivationRequest
from starlette.types import Message, Receive, Scope, Send

from service import errors
from service.api.middleware import BodyLimit
from service.api.requests import bodies
from service.completions.errors import openai_error, status_of
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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/assistants", 404),
        ("GET", "/v1/threads/t_1/messages", 404),
        ("POST", "/v1/audio/speech", 404),
        ("GET", "/v1/chat/completions/c_1", 404),
        ("GET", "/v1/chat/completions", 405),
    ],
)
def test_openais_clients_understand_the_refusal_of_routes_that_are_not_here(
    world: World, method: str, path: str, status: int
) -> None:
    answer = world.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json() == {
        "error": {
            "message": f"{method} {path}: {'not found' if status == 404 else 'method not allowed'}.",
            "type": "invalid_request_error",
            "code": "not_found" if status == 404 else "method_not_allowed",
            "param": None,
        }
    }


@pytest.mark.parametrize("path", ["/v1/models/none", "/v1/assistant", "/v1", "/v1/", "/assistants", "/x/v1/assistants"])
def test_other_unknown_routes_answer_with_a_problem(world: World, path: str) -> None:
    assert world.client.get(path).headers["content-type"] == "application/problem+json"


def test_errors_of_models_are_problems_with_openais_error_inside(world: World) -> None:
    answer = world.client.get("/v1/models/none")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["error"] == {
        "message": answer.json()["detail"],
        "type": "invalid_request_error",
        "code": "model_not_found",
        "param": "model",
    }
    assert "error" not in world.client.get("/v1/prompts/none").json()


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
    world = open_world(max_json_body_bytes=2048, max_body_bytes=3072, max_upload_bytes=4096)
    kind = {"Content-Type": "application/json"}
    answer = world.client.post("/v1/activations", content=b"x" * 2049, headers=kind)
    assert answer.status_code == 413
    assert "2,049 bytes" in answer.json()["detail"]
    assert "2,048 bytes" in answer.json()["detail"]
    assert world.client.post("/v1/activations", content=b"x" * 2048, headers=kind).status_code == 422
    upload = {"Content-Type": "application/octet-stream"}
    assert world.client.post("/v1/prompts?name=a", content=b"x" * 4096, headers=upload).status_code == 422
    assert world.client.post("/v1/prompts?name=a", content=b"x" * 4097, headers=upload).status_code == 413


def test_a_form_may_be_larger_than_its_json(open_world: OpenWorld) -> None:
    world = open_world(max_json_body_bytes=2048, max_body_bytes=4096)
    url, spec = "/v1/activations", json.dumps(CAPTURE)
    assert world.client.post(url, data={"request": spec}, files={"tensors": b"x" * 2500}).status_code == 200
    assert world.client.post(url, data={"request": spec}, files={"tensors": b"x" * 4096}).status_code == 413
    as_file = {"request": spec + " " * 2048}
    answer = world.client.post(url, files=as_file)
    assert answer.status_code == 413
    assert "2,048" in answer.json()["detail"]


def test_an_announced_length_is_judged_before_the_body_is_read() -> None:
    n_reads = 0

    async def receive() -> Message:
        nonlocal n_reads
        n_reads += 1
        return {"type": "http.request", "body": b"x" * 7, "more_body": n_reads < 3}

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def send(_message: Message) -> None:
        pass

    def scope(*headers: tuple[bytes, bytes]) -> Scope:
        return {"type": "http", "path": "/", "headers": list(headers)}

    limited = BodyLimit(read, limit_of=lambda _path, _kind: 20)
    with pytest.raises(errors.TooLarge, match=r"21 bytes.*20 bytes"):
        asyncio.run(limited(scope((b"content-length", b"21")), receive, send))
    assert n_reads == 0
    with pytest.raises(errors.TooLarge, match="20 bytes"):  # chunked: 3 times 7 bytes
        asyncio.run(limited(scope(), receive, send))
    assert n_reads == 3


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("/v1/activations", ["", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]),
        ("/v1/activations", ["text/json", "text/plain; x=application/json", "x+json"]),
        ("/v1/completions", ["", "text/plain", "application/x-www-form-urlencoded"]),
        ("/v1/runs", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]),
        ("/v1/priors/sample", ["", "text/plain"]),
        ("/v1/maps/m/project", ["", "text/plain"]),
        ("/v1/prompts?name=a", ["", "text/plain", "application/json", "multipart/form-data; boundary=b"]),
        ("/v1/datasets?name=a&format=text", ["", "text/plain", "application/x-www-form-urlencoded", "application/zip"]),
    ],
)
def test_bodies_of_other_types_and_of_none_are_refused(world: World, path: str, kinds: list[str]) -> None:
    for kind in kinds:
        headers = {"Content-Type": kind} if kind else {}
        answer = world.client.post(path, content=b"{}", headers=headers)
        assert answer.status_code == 415, (kind, answer.text)
        assert "Expected" in answer.text
        assert ("curl" in answer.text) == (kind == "application/x-www-form-urlencoded")
    assert world.client.put("/v1/prompts/a/aliases/b", content=b"{}").status_code == 415


def test_a_body_of_too_many_values_is_refused_and_too_many_faults_are_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_JSON_VALUES", 30_000)
    tricky = {**CAPTURE, "inputs": ['[,,\\"{' * 40_000, '"[\\"'] * 2}
    assert world.client.post("/v1/activations", json=tricky).status_code == 200
    wrong = {**CAPTURE, **{f"field-{number}": 1 for number in range(14_000)}}
    answer = world.client.post("/v1/activations", json=wrong)
    assert answer.status_code == 422
    assert "14,000 values are invalid" in answer.json()["detail"]
    many: list[list[Any]] = [[[1] * 30_000], [[]] * 30_001, ["x"] * 60_002, [{"a": 1}] * 20_000]
    for inputs in many:
        refused = world.client.post("/v1/activations", json={**CAPTURE, "inputs": inputs})
        assert refused.status_code == 413, inputs[:1]
        assert "30,000 JSON values" in refused.json()["detail"]


@pytest.mark.parametrize(("n_bytes", "is_in_loop"), [(1000, True), (300_000, False)])
def test_large_bodies_are_parsed_outside_the_event_loop(
    world: World, monkeypatch: pytest.MonkeyPatch, n_bytes: int, is_in_loop: bool
) -> None:
    seen: list[bool] = []

    def record(kind: type[ActivationRequest], data: bytes) -> ActivationRequest:
        try:
            asyncio.get_running_loop()
            seen.append(True)
        except RuntimeError:
            seen.append(False)
        return kind.model_validate_json(data)

    monkeypatch.setattr(bodies, "_validated", record)
    answer = world.client.post("/v1/activations", json={**CAPTURE, "inputs": ["x" * n_bytes]})
    assert (answer.status_code, seen) == (200, [is_in_loop])


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
