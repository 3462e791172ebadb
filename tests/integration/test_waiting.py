"""Deadlines, clients that leave, and a full queue: none of them may cost anybody else anything."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from tests.integration.conftest import AUTH
from tests.integration.running import Service, wait_until

LONG = {"model": "tiny", "prompt": "x", "max_tokens": 16_000, "temperature": 0}
RUNNING = "promptatlas_engine_n_running"


def wait_until_idle(service: Service) -> None:
    def idle() -> bool:
        numbers = (service.gauge(f"promptatlas_engine_{name}", headers=AUTH) for name in ("n_running", "n_waiting"))
        return not any(numbers)

    wait_until(idle)


def connect(service: Service, body: dict[str, object], *, path: str = "/v1/completions") -> socket.socket:
    """Send a request and do not read the answer."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    host, _, port = service.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", LONG),
        (
            "/v1/trajectories",
            {"model": "tiny", "inputs": ["x"], "max_tokens": 16_000, "sites": ["final_norm"]},
        ),
    ],
)
def test_past_its_deadline_a_request_ends_and_frees_its_row(
    service: Service, http: httpx.Client, path: str, body: dict[str, object]
) -> None:
    answer = http.post(path, json=body, headers={"X-Request-Timeout": "0.3"})
    assert answer.status_code == 504
    wait_until_idle(service)


def test_a_stream_past_its_deadline_ends_in_an_error_event(service: Service, http: httpx.Client) -> None:
    answer = http.post("/v1/completions", json={**LONG, "stream": True}, headers={"X-Request-Timeout": "0.3"})
    if answer.status_code == 200:
        last = answer.text.strip().rpartition("data: ")[2]
        assert json.loads(last)["error"]["type"] == "timeout_error"
    else:
        assert answer.status_code == 504
    wait_until_idle(service)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_row(service: Service, stream: bool) -> None:
    connection = connect(service, {**LONG, "stream": stream})
    if stream:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    else:
        wait_until(lambda: service.gauge(RUNNING, headers=AUTH) == 1)
    connection.close()
    wait_until_idle(service)


def test_when_the_queue_is_full_newcomers_are_told_to_come_back(service: Service, http: httpx.Client) -> None:
    crowd = [connect(service, {**LONG, "n": 4})]
    # Only once the first rows have left the queue is there room in it for the second ones.
    wait_until(lambda: service.gauge(RUNNING, headers=AUTH) == 4)
    crowd.append(connect(service, {**LONG, "n": 4}))
    wait_until(lambda: service.gauge("promptatlas_engine_n_waiting", headers=AUTH) == 4)
    refused = http.post("/v1/completions", json={**LONG, "stream": True})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    for connection in crowd:
        connection.close()
    wait_until_idle(service)
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 2}).status_code == 200
