from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import openai
import pytest
from httpx2 import Response

from service.api.keys import minute_counters
from service.engine.requests import Capture, Delta, Failed, RowDone
from service.errors import EngineUnavailable
from service.hosting.ipc.messages import EstimateCost, Submit, Update
from service.settings import ApiKey
from tests.service.api.conftest import OpenWorld, World, echo

NOW_S = 60 * 1000.0 + 20
NAMES = ("ann", "bob")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock of the counters, 40 seconds before the next minute; the fixture moves it."""
    now = [NOW_S]
    init = minute_counters.MinuteCounters.__init__

    def with_clock(self: minute_counters.MinuteCounters, *args: Any, **kwargs: Any) -> None:
        init(self, *args, now=lambda: now[0], **kwargs)

    monkeypatch.setattr(minute_counters.MinuteCounters, "__init__", with_clock)

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def key(name: str, **limits: Any) -> ApiKey:
    return ApiKey(name=name, scope="admin", sha256=hashlib.sha256(f"secret-{name}".encode()).hexdigest(), **limits)


def bearer(name: str = "ann") -> dict[str, str]:
    return {"Authorization": f"Bearer secret-{name}"}


def complete(world: World, name: str = "ann", **fields: Any) -> Response:
    body = {"model": "demo", "prompt": "abcdefgh", "max_tokens": 10, **fields}
    return world.client.post("/v1/completions", json=body, headers=bearer(name))


def shown(answer: Response, kind: str) -> tuple[str, str, str]:
    limit, remaining, reset = (answer.headers[f"x-ratelimit-{part}-{kind}"] for part in ("limit", "remaining", "reset"))
    return limit, remaining, reset


def test_requests_over_the_limit_are_429_until_the_next_minute(
    open_world: OpenWorld, clock: Callable[[float], None]
) -> None:
    world = open_world(api_keys=(key("ann", requests_per_minute=2), key("bob")))
    for left in ("1", "0"):
        answer = world.client.get("/v1/models", headers=bearer())
        assert answer.status_code == 200
        assert shown(answer, "requests") == ("2", left, "40s")
    refused = world.client.get("/v1/models", headers=bearer())
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "40"
    assert refused.json()["type"] == "urn:promptatlas:problem:rate-limit-exceeded"
    assert refused.json()["detail"] == "This key may send 2 requests a minute."
    assert shown(refused, "requests") == ("2", "0", "40s")
    assert world.client.get("/v1/models", headers=bearer("bob")).status_code == 200
    assert "x-ratelimit-limit-requests" not in world.client.get("/v1/models", headers=bearer("bob")).headers
    clock(40)
    assert world.client.get("/v1/models", headers=bearer()).status_code == 200


def test_open_routes_and_refused_keys_are_not_counted(open_world: OpenWorld) -> None:
    reader = replace(key("ann", requests_per_minute=1), scope="read")
    world = open_world(api_keys=(reader,))
    for _ in range(3):
        assert world.client.get("/health", headers=bearer()).status_code == 200
        assert world.client.get("/ready", headers=bearer()).status_code == 200
        assert world.client.get("/v1/models").status_code == 401
        assert world.client.delete("/v1/prompts/qa/versions/1", headers=bearer()).status_code == 403
    assert world.client.get("/v1/models", headers=bearer()).status_code == 200


def test_a_route_with_two_scopes_counts_once(open_world: OpenWorld) -> None:
    world = open_world(api_keys=(key("ann", requests_per_minute=5),))
    answer = world.client.delete("/v1/prompts/qa/versions/1", headers=bearer())
    assert shown(answer, "requests")[1] == "4"


def test_keys_without_limits_have_those_of_the_settings_and_names_share_them(open_world: OpenWorld) -> None:
    twin = replace(key("ann"), sha256=hashlib.sha256(b"secret-twin").hexdigest())
    world = open_world(
        api_keys=(key("ann"), twin, key("bob", requests_per_minute=9)), requests_per_minute=2, tokens_per_minute=1000
    )
    assert shown(complete(world), "requests")[:2] == ("2", "1")
    assert shown(complete(world, "twin"), "requests")[:2] == ("2", "0")
    assert complete(world).status_code == 429
    answer = complete(world, "bob")
    assert shown(answer, "requests")[:2] == ("9", "8")
    assert shown(answer, "tokens")[0] == "1000"


def test_without_keys_nothing_is_limited(open_world: OpenWorld) -> None:
    world = open_world(requests_per_minute=1, tokens_per_minute=1, max_rows_per_key=1)
    for _ in range(3):
        assert complete(world, prompt=["a" * 100, "b"]).status_code == 200


def test_tokens_are_reserved_and_then_counted(open_world: OpenWorld, clock: Callable[[float], None]) -> None:
    seen: list[str] = []
    world = open_world(api_keys=(key("ann", tokens_per_minute=20),))
    # The scripted engine reads 2 tokens and generates 1. Estimated are 2 and 10.
    for left in ("17", "14", "11"):
        answer = complete(world)
        assert answer.status_code == 200
        seen.append(shown(answer, "tokens")[1])
        assert seen[-1] == left
    refused = complete(world)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "40"
    assert shown(refused, "tokens") == ("20", "11", "40s")
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "9 are used or reserved by running requests, and the request may use 12" in error["message"]
    assert complete(world, max_tokens=9).status_code == 200
    clock(40)
    assert shown(complete(world), "tokens")[1] == "17"


@pytest.mark.parametrize(
    ("path", "body", "n_used"),
    [
        ("/v1/completions", {"prompt": ["a", "b"], "n": 2}, 2 * 2 + 4),
        ("/v1/completions", {"prompt": "a", "stream": True}, 3),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, 3),
        ("/v1/trajectories", {"inputs": ["a"], "max_tokens": 3, "sites": ["resid_post"], "layers": [1]}, 2 + 3),
        ("/v1/activations", {"inputs": ["a"], "sites": ["resid_post"], "layers": [1]}, 2),
        ("/v1/embeddings", {"input": "a"}, 2),
    ],
)
def test_each_route_counts_what_it_used(open_world: OpenWorld, path: str, body: dict[str, Any], n_used: int) -> None:
    def script(message: Submit | EstimateCost) -> Sequence[Update]:
        updates, id_ = list(echo(message)), message.request.request_id
        if isinstance(message.request, Capture) or message.request.capture is None:
            return updates
        row = RowDone(request_id=id_, row=0, finish_reason="length", n_input=2, n_generated=3)
        return [row, *updates]

    world = open_world(api_keys=(key("ann", tokens_per_minute=1000, requests_per_minute=1000),), script=script)
    answer = world.client.post(path, json={"model": "demo", **body}, headers=bearer())
    assert answer.status_code == 200, answer.text
    after = complete(world)
    assert int(shown(after, "tokens")[1]) == 1000 - n_used - 3


def test_a_request_that_fails_gives_its_tokens_back(open_world: OpenWorld) -> None:
    def fail(message: Submit | EstimateCost) -> Sequence[Update]:
        return [Failed(request_id=message.request.request_id, error=EngineUnavailable("lost", retry_after_s=1))]

    world = open_world(api_keys=(key("ann", tokens_per_minute=12),), script=fail)
    for _ in range(3):
        answer = complete(world)
        assert answer.status_code == 503
        assert shown(answer, "tokens")[1] == "12"


def test_a_request_larger_than_the_limit_runs_alone_unless_its_input_is(open_world: OpenWorld) -> None:
    world = open_world(api_keys=(key("ann", tokens_per_minute=10),))
    assert complete(world, max_tokens=500).status_code == 200
    assert complete(world, max_tokens=500).status_code == 429
    answer = complete(world, prompt="x" * 44)
    assert answer.status_code == 413
    assert "about 11 tokens; this key may use 10 a minute" in answer.json()["error"]["message"]


def test_rows_at_the_same_time_are_limited(open_world: OpenWorld) -> None:
    def wait(message: Submit | EstimateCost) -> Sequence[Update]:
        return []

    world = open_world(api_keys=(key("ann", max_rows=5), key("bob")), script=wait)
    late = {**bearer(), "X-Request-Timeout": "0.5"}
    body = {"model": "demo", "prompt": ["a", "b"], "n": 2}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.client.post, "/v1/completions", json=body, headers=late)
        while not world.end.submitted and not running.done():
            pass
        refused = complete(world, n=2)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert "4 are waiting or running, and the request has 2" in refused.json()["error"]["message"]
        assert running.result().status_code == 504
    too_many = complete(world, prompt=["a"] * 6)
    assert too_many.status_code == 413
    # The rows of the first request are free again.
    again = world.client.post("/v1/completions", json=body, headers=late)
    assert again.status_code == 504


def test_by_default_one_key_leaves_room_in_the_queue(open_world: OpenWorld) -> None:
    world = open_world(api_keys=(key("ann"),), max_batch=2, max_waiting=2)
    assert complete(world, prompt=["a"] * 3).status_code == 200
    assert complete(world, prompt=["a"] * 4).status_code == 413


def test_a_stream_that_is_closed_early_counts_what_was_sent(open_world: OpenWorld) -> None:
    def endless(message: Submit | EstimateCost) -> Sequence[Update]:
        return [Delta(request_id=message.request.request_id, row=0, text="ab", token_ids=(3, 4, 5))]

    world = open_world(api_keys=(key("ann", tokens_per_minute=1000),), script=endless)
    answer = world.client.post(
        "/v1/completions",
        json={"model": "demo", "prompt": "abcdefgh", "max_tokens": 500, "stream": True},
        headers={**bearer(), "X-Request-Timeout": "0.3"},
    )
    assert answer.status_code == 200
    assert shown(answer, "tokens")[1] == str(1000 - 502)  # at the start of the stream
    world.end.script = echo
    assert shown(complete(world), "tokens")[1] == str(1000 - 2 - 3 - 3)


def test_openais_client_retries_until_the_limit_allows(open_world: OpenWorld, clock: Callable[[float], None]) -> None:
    world = open_world(api_keys=(key("ann", requests_per_minute=1),))
    client = openai.OpenAI(
        base_url="http://127.0.0.1:8000/v1", api_key="secret-ann", http_client=world.client, max_retries=0
    )
    client.completions.create(model="demo", prompt="a")
    with pytest.raises(openai.RateLimitError) as caught:
        client.completions.create(model="demo", prompt="a")
    assert caught.value.code == "rate_limit_exceeded"
    slept: list[float] = []
    patient = client.with_options(max_retries=1)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", sleep)
        assert patient.completions.create(model="demo", prompt="a").choices
    assert slept == [40.0]


def test_limits_are_shared_by_processes(open_world: OpenWorld, redis_url: str) -> None:
    keys = (key("ann", requests_per_minute=3, tokens_per_minute=1000),)
    one, two = (open_world(api_keys=keys, redis_url=redis_url) for _ in range(2))
    assert shown(complete(one), "requests")[1] == "2"
    assert shown(complete(two), "requests")[1] == "1"
    assert shown(complete(one), "tokens")[1] == str(1000 - 9)
    assert complete(two).status_code == 429


def test_pages_may_read_the_headers(open_world: OpenWorld) -> None:
    world = open_world(api_keys=(key("ann", requests_per_minute=3),), allowed_origins=("https://notes.example",))
    answer = world.client.get("/v1/models", headers={**bearer(), "Origin": "https://notes.example"})
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert "x-ratelimit-remaining-tokens" in exposed
    assert json.loads(answer.text)
