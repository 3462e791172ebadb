from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from service.api.keys.key_ring import KeyRing
from service.api.requests.auth import Caller, identify
from service.settings import ApiKey, Scope
from tests.service.api.conftest import OpenWorld, World


def key(name: str, scope: Scope) -> ApiKey:
    return ApiKey(name=name, scope=scope, sha256=hashlib.sha256(f"secret-{name}".encode()).hexdigest())


KEYS = (key("ann", "read"), key("bob", "write"), key("eve", "admin"))


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer secret-{name}"}


@pytest.fixture
def guarded(open_world: OpenWorld) -> World:
    return open_world(api_keys=KEYS)


def test_a_key_is_known_by_its_hash() -> None:
    assert identify("secret-bob", keys=KeyRing(KEYS)) == Caller(name="bob", scope="write", key=KEYS[1])
    for other in ("secret-zoe", KEYS[0].sha256, None):
        with pytest.raises(HTTPException) as caught:
            identify(other, keys=KeyRing(KEYS))
        assert caught.value.status_code == 401


def test_an_expired_key_is_told_so(open_world: OpenWorld) -> None:
    expired = replace(KEYS[0], expires=datetime(2020, 1, 2, tzinfo=timezone.utc))
    world = open_world(api_keys=(expired, replace(KEYS[1], expires=datetime(2999, 1, 1, tzinfo=timezone.utc))))
    answer = world.client.get("/v1/models", headers=bearer("ann"))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] == "The API key has expired at 2020-01-02T00:00:00+00:00."
    assert world.client.get("/v1/models", headers=bearer("bob")).status_code == 200


def test_a_file_of_keys_is_read_again_and_reported_by_ready(open_world: OpenWorld, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(f"# no key yet\nann:read:{KEYS[0].sha256}\n")
    world = open_world(api_keys_file=str(file))
    assert world.client.get("/v1/models").status_code == 401
    assert world.client.get("/v1/models", headers=bearer("ann")).status_code == 200
    assert world.client.get("/ready").json()["keys"]["status"] == "ok"
    file.write_text("nonsense")
    broken = open_world(api_keys_file=str(file))
    assert broken.client.get("/v1/models", headers=bearer("ann")).status_code == 401
    ready = broken.client.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["keys"]["status"] == "lost"
    assert str(tmp_path) not in ready.text
    assert "nonsense" not in ready.text


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_readiness_are_open(guarded: World, path: str) -> None:
    assert guarded.client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/v1/models", "/v1/capabilities", "/v1/prompts"])
def test_the_rest_needs_a_key(guarded: World, path: str) -> None:
    without = guarded.client.get(path)
    assert without.status_code == 401
    assert without.headers["www-authenticate"] == "Bearer"
    assert without.headers["content-type"] == "application/problem+json"
    assert guarded.client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert guarded.client.get(path, headers=bearer("ann")).status_code == 200
    assert guarded.client.get(path, headers={"X-API-Key": "secret-ann"}).status_code == 200


def test_the_key_is_looked_at_before_the_body(guarded: World) -> None:
    answer = guarded.client.post("/v1/completions", content=b"no json")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("POST", "/v1/completions", "ann"),
        ("POST", "/v1/activations", "ann"),
        ("POST", "/v1/trajectories", "ann"),
        ("GET", "/v1/prompts/qa", "ann"),
        ("POST", "/v1/prompts?name=qa", "bob"),
        ("PUT", "/v1/prompts/qa/aliases/live", "bob"),
        ("PATCH", "/v1/runs/run-1k10t9g4v3edf5mv8", "bob"),
        ("DELETE", "/v1/prompts/qa/versions/1", "eve"),
        ("DELETE", "/v1/prompts/qa/aliases/live", "eve"),
    ],
)
def test_each_route_needs_its_scope(guarded: World, method: str, path: str, least: str) -> None:
    order = ["ann", "bob", "eve"]
    for name in order:
        status = guarded.client.request(method, path, headers=bearer(name)).status_code
        if order.index(name) < order.index(least):
            assert status == 403
        else:
            assert status not in (401, 403)


def test_without_keys_everybody_on_this_machine_may_do_everything(world: World) -> None:
    assert world.client.delete("/v1/prompts/qa/versions/1").status_code == 404
