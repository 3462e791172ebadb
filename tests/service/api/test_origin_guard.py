"""Which hosts and origins a server answers; the cases are requests that browsers send (Fetch Metadata, RFC 6454)."""

from __future__ import annotations

import hashlib

import pytest

from service.settings import ApiKey
from tests.service.api.conftest import OpenWorld, World

OWN = "http://127.0.0.1:8000"
FOREIGN = "https://evil.example"
KEY = ApiKey(name="ann", scope="admin", sha256=hashlib.sha256(b"secret").hexdigest())
COMPLETION = {"model": "demo", "prompt": "hi", "max_tokens": 1}
ROUTES = [
    ("GET", "/"),
    ("GET", "/web/js/main.js"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/runs"),
    ("GET", "/v1/runs/x/events"),
    ("GET", "/v1/nothing"),
    ("POST", "/v1/runs"),
    ("POST", "/v1/runs/x/cancel"),
    ("PATCH", "/v1/runs/x"),
    ("POST", "/v1/datasets?name=a&format=text"),
    ("DELETE", "/v1/datasets/a"),
    ("OPTIONS", "/v1/runs"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_another_host_or_origin(world: World, method: str, path: str) -> None:
    for headers, kind in (({"Host": "evil.example"}, "host"), ({"Origin": FOREIGN}, "origin")):
        answer = world.client.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["type"] == f"urn:promptatlas:problem:{kind}-not-allowed"
        assert body["request_id"] == answer.headers["x-request-id"]
        assert "evil.example" in body["detail"]
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_openai_routes_refuse_in_openais_format(world: World, path: str) -> None:
    for headers, code in (({"Host": "evil.example"}, "host_not_allowed"), ({"Origin": FOREIGN}, "origin_not_allowed")):
        answer = world.client.post(path, json=COMPLETION, headers=headers)
        assert answer.status_code == 403
        assert (answer.json()["error"]["code"], answer.json()["error"]["type"]) == (code, "permission_error")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "127.8.9.10:1", "localhost", "LocalHost:65535", "[::1]", "[::1]:8000"],
)
def test_loopback_names_are_answered(world: World, host: str) -> None:
    assert world.client.get("/health", headers={"Host": host}).status_code == 200
    assert world.client.get("/health", headers={"Host": host, "Origin": f"http://{host.lower()}"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "128.0.0.1",
        "0.0.0.0",
        "10.0.0.1:8000",
        "[::2]",
        "::1",
        "127.0.0.1:8000:8000",
        "localhost:x",
    ],
)
def test_other_names_are_refused(world: World, host: str) -> None:
    assert world.client.get("/health", headers={"Host": host}).status_code == 403


def test_a_repeated_host_is_refused(world: World) -> None:
    headers = [("Host", "127.0.0.1:8000"), ("Host", "evil.example")]
    assert world.client.get("/health", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (OWN, 200),
        ("https://127.0.0.1:8000", 200),  # a proxy with TLS in front
        ("http://127.0.0.1:9000", 403),
        ("http://127.0.0.1", 403),
        ("http://localhost:8000", 403),
        ("null", 403),
        ("", 403),
        ("http://127.0.0.1:8000.evil.example", 403),
        ("ftp://127.0.0.1:8000", 403),
        (f"{OWN}, {FOREIGN}", 403),
    ],
)
def test_only_the_own_origin_may_send_requests(world: World, origin: str, status: int) -> None:
    answer = world.client.post("/v1/completions", json=COMPLETION, headers={"Origin": origin})
    assert answer.status_code == status
    assert len(world.end.received) == (status == 200)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_are_refused_without_an_origin_too(world: World, site: str) -> None:
    page = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    form = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert world.client.post("/v1/completions", json=COMPLETION, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert world.client.post("/v1/completions", json=COMPLETION, headers=form).status_code == 403
    assert world.client.get("/v1/runs", headers={**page, "Sec-Fetch-Dest": "image"}).status_code == 403
    assert world.client.get("/", headers={**form, "Sec-Fetch-Dest": "object"}).status_code == 403
    assert world.end.received == []


def test_links_from_other_sites_can_be_followed(world: World) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert world.client.get("/", headers=link).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_own_page_and_the_address_bar_are_answered(world: World, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
    assert world.client.get("/v1/models", headers=headers).status_code == 200
    assert world.client.post("/v1/completions", json=COMPLETION, headers=headers).status_code == 200


def test_an_allowed_host_is_answered_with_its_own_origin(open_world: OpenWorld) -> None:
    world = open_world(allowed_hosts=("atlas.example", "other.example:8443"))
    for host, status in (("atlas.example", 200), ("ATLAS.example:80", 200), ("other.example:8443", 200)):
        headers = {"Host": host, "Origin": f"https://{host.lower()}"}
        assert world.client.get("/v1/models", headers=headers).status_code == status
    for host in ("other.example", "x.atlas.example"):
        assert world.client.get("/v1/models", headers={"Host": host}).status_code == 403
    assert world.client.get("/health", headers={"Host": "localhost"}).status_code == 200


def test_with_keys_hosts_and_origins_are_free(open_world: OpenWorld) -> None:
    world = open_world(api_keys=(KEY,))
    headers = {"Host": "atlas.example", "Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}
    assert world.client.post("/v1/completions", json=COMPLETION, headers=headers).status_code == 401
    answer = world.client.post("/v1/completions", json=COMPLETION, headers={**headers, "X-API-Key": "secret"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_allowed_hosts_bind_with_keys_too(open_world: OpenWorld) -> None:
    world = open_world(api_keys=(KEY,), allowed_hosts=("atlas.example",))
    assert world.client.get("/health", headers={"Host": "atlas.example"}).status_code == 200
    assert world.client.get("/health", headers={"Host": "127.0.0.1"}).status_code == 200
    assert world.client.get("/health", headers={"Host": "evil.example"}).status_code == 403
    open_ = open_world(api_keys=(KEY,), allowed_hosts=("*",))
    assert open_.client.get("/health", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_an_allowed_origin_may_send_requests_and_read_responses(
    open_world: OpenWorld, keys: tuple[ApiKey, ...]
) -> None:
    world = open_world(api_keys=keys, allowed_origins=("https://notes.example",))
    headers = {"Origin": "https://notes.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    answer = world.client.post("/v1/completions", json=COMPLETION, headers={**headers, "X-API-Key": "secret"})
    refused = world.client.get("/v1/models/none", headers={**headers, "X-API-Key": "secret"})
    assert (answer.status_code, refused.status_code) == (200, 404)
    for each in (answer, refused):
        assert each.headers["access-control-allow-origin"] == "https://notes.example"
        assert "Origin" in each.headers["vary"]
        assert "X-Request-ID" in each.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in each.headers


def test_an_allowed_origin_gets_an_answer_to_its_preflight(open_world: OpenWorld) -> None:
    world = open_world(allowed_origins=("https://notes.example",))
    preflight = {
        "Origin": "https://notes.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
        "Access-Control-Request-Private-Network": "true",
    }
    answer = world.client.options("/v1/runs", headers=preflight)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://notes.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert answer.headers["access-control-allow-private-network"] == "true"
    refused = world.client.options("/v1/runs", headers={**preflight, "Origin": FOREIGN})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_cors_is_off_by_default(world: World) -> None:
    answer = world.client.get("/v1/models", headers={"Origin": OWN})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "vary" not in answer.headers
