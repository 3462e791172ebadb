from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx
import pytest
from promptatlas import AsyncClient, Client, RetryPolicy, errors

from tests.clients.python.promptatlas.fake_server import (
    FakeServer,
    Pieces,
    activation_tensors,
    problem,
    reply,
    tensor_bytes,
    tensors_reply,
)

OK = {"status": "ok"}
MANIFEST = {
    "name": "qa",
    "version": 1,
    "kind": "soft",
    "n_virtual": 3,
    "base": "demo",
    "sha256": "sha256:" + "ab" * 32,
    "created_at": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_transient_failures_are_retried_with_doubled_delays(
    client: Client, server: FakeServer, slept: list[float], status: int
) -> None:
    server.will(problem(status), problem(status), problem(status), reply(OK))
    assert client.health().status == "ok"
    assert slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_other_failures_are_not_retried(client: Client, server: FakeServer, slept: list[float], status: int) -> None:
    server.will(problem(status))
    with pytest.raises(errors.ProblemError) as caught:
        client.health()
    assert caught.value.status == status
    assert (len(server.requests), slept) == (1, [])


def test_the_last_failure_is_raised(client: Client, server: FakeServer, slept: list[float]) -> None:
    server.will(problem(503, "still starting"))
    with pytest.raises(errors.UnavailableError, match="still starting"):
        client.health()
    assert (len(server.requests), len(slept)) == (4, 3)


def test_retry_after_sets_the_delay(client: Client, server: FakeServer, slept: list[float]) -> None:
    server.will(problem(429, retry_after="17"), reply(OK))
    client.health()
    assert slept == [17.0]


def test_a_date_in_the_past_means_at_once(client: Client, server: FakeServer, slept: list[float]) -> None:
    server.will(problem(503, retry_after="Fri, 02 Jan 2015 03:04:05 GMT"), reply(OK))
    client.health()
    assert slept == [0.0]


def test_a_long_retry_after_is_an_error(client: Client, server: FakeServer, slept: list[float]) -> None:
    server.will(problem(429, retry_after="3600"), reply(OK))
    with pytest.raises(errors.TooManyRequestsError) as caught:
        client.health()
    assert caught.value.retry_after_s == 3600
    assert slept == []


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.ReadError("x"),
    ],
)
def test_failed_connections_are_retried(client: Client, server: FakeServer, failure: Exception) -> None:
    server.will(failure, reply(OK))
    assert client.health().status == "ok"


def test_a_read_timeout_is_not_retried(client: Client, server: FakeServer) -> None:
    server.will(httpx.ReadTimeout("slow"), reply(OK))
    with pytest.raises(errors.TimedOutError):
        client.health()


def test_no_response(client: Client, server: FakeServer) -> None:
    server.will(httpx.ConnectError("refused"))
    with pytest.raises(errors.ConnectionFailedError, match="refused"):
        client.health()
    assert len(server.requests) == 4


def test_an_interrupted_download_is_retried(client: Client, server: FakeServer) -> None:
    broken = httpx.Response(200, stream=Pieces(b"half", then=httpx.ReadError("cut")))
    server.will(broken, tensors_reply(tensor_bytes(activation_tensors())))
    with client.activations.get(model="demo", inputs=["a", "b"], sites=["embed"]) as cache:
        assert cache.n_rows == 5


def test_all_attempts_of_a_creation_have_one_idempotency_key(client: Client, server: FakeServer) -> None:
    server.will(problem(503), problem(503), reply(MANIFEST, status=201))
    client.prompts.upload("qa", tensors={"soft": [[1.0, 2.0]]}, base="demo")
    client.prompts.upload("qa", tensors={"soft": [[1.0, 2.0]]}, base="demo")
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert server.requests[0].content == server.requests[2].content != b""


def test_reads_have_no_idempotency_key(client: Client, server: FakeServer) -> None:
    server.will(reply(OK))
    client.health()
    assert "idempotency-key" not in server.request.headers


def limited_client(server: FakeServer, clock: Callable[[], float], slept: list[float]) -> Client:
    transport = httpx.MockTransport(server)
    return Client(transport=transport, sleep=slept.append, random=lambda: 1.0, clock=clock, environ={})


def test_retries_stay_within_the_calls_time(server: FakeServer, slept: list[float]) -> None:
    times = iter([0.0, 3.0, 9.8])
    server.will(problem(503), problem(503), reply(OK))
    with pytest.raises(errors.UnavailableError):
        limited_client(server, lambda: next(times), slept).health(timeout_s=10)
    assert slept == [0.5]
    assert [request.headers["x-request-timeout"] for request in server.requests] == ["10", "6.5"]


def test_jitter_and_the_longest_delay() -> None:
    policy = RetryPolicy(first_delay_s=1.0, max_delay_s=4.0)
    assert [policy.backoff_s(n_failed=count, jitter=0.0) for count in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 2.0]
    assert policy.backoff_s(n_failed=1, jitter=0.5) == 0.75


def test_retries_can_be_disabled(server: FakeServer) -> None:
    server.will(problem(503))
    client = Client(transport=httpx.MockTransport(server), retries=RetryPolicy(n_retries=0), environ={})
    with pytest.raises(errors.UnavailableError):
        client.health()
    assert len(server.requests) == 1


def test_the_async_client_retries_too(async_client: AsyncClient, server: FakeServer, slept: list[float]) -> None:
    server.will(httpx.ConnectError("refused"), problem(429, retry_after="2"), reply(OK))

    async def run() -> str:
        async with async_client:
            return (await async_client.health()).status

    assert anyio.run(run) == "ok"
    assert slept == [0.5, 2.0]
