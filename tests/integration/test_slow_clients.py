"""Clients that send half a request, or do not read, lose their connections; others are served meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.running import PATIENCE_S, Service, running_service, wait_until

N_EACH = 75
SHORT = {"model": "tiny", "prompt": "x", "max_tokens": 2, "temperature": 0}
JSON_HEAD = (
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
)
HALVES = {
    "nothing": b"",
    "half a request line": b"GET /hea",
    "half a header": b"GET /health HTTP/1.1\r\nHost: loc",
    "half a body": JSON_HEAD + b'{"model": "tiny", ',
}


@pytest.fixture(scope="module")
def impatient(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with small timeouts, with which a client must send 100 bytes in each second."""
    with running_service(
        tmp_path_factory.mktemp("impatient"),
        models=f"tiny={model_path}",
        READ_TIMEOUT_S="1",
        WRITE_TIMEOUT_S="1",
        MIN_BYTES_PER_S="100",
        MAX_PENDING="8",
    ) as service:
        service.wait_until_ready()
        yield service


def connect(service: Service) -> socket.socket:
    url = httpx.URL(service.url)
    return socket.create_connection((url.host, url.port), timeout=PATIENCE_S)


def until_closed(sock: socket.socket) -> bytes:
    """What the server sends until it closes the connection; fails if it does not."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received


def trickle(sock: socket.socket) -> bytes:
    """Send one byte after the other until the server closes the connection; what it sent."""
    give_up_s = time.monotonic() + PATIENCE_S
    sock.setblocking(False)
    received = b""
    while time.monotonic() < give_up_s:
        with contextlib.suppress(BlockingIOError):
            data = sock.recv(65536)
            if not data:
                return received
            received += data
        try:
            sock.send(b"x")
        except (BrokenPipeError, ConnectionResetError):
            return received
        time.sleep(0.05)
    raise AssertionError("the connection was not closed")


def assert_serves(service: Service) -> None:
    assert httpx.get(f"{service.url}/health").status_code == 200
    for stream in (False, True):
        answer = httpx.post(f"{service.url}/v1/completions", json={**SHORT, "stream": stream}, timeout=PATIENCE_S)
        assert answer.status_code == 200
        assert not stream or answer.text.rstrip().endswith("[DONE]")


def test_half_open_connections_are_closed_and_do_not_count_against_others(impatient: Service) -> None:
    with contextlib.ExitStack() as stack:
        halves = {}
        for name, data in HALVES.items():
            halves[name] = [stack.enter_context(connect(impatient)) for _ in range(N_EACH)]
            for sock in halves[name]:
                sock.sendall(data)
        assert_serves(impatient)
        answers = {name: {until_closed(sock).partition(b"\r\n")[0] for sock in socks} for name, socks in halves.items()}
    assert answers == {
        "nothing": {b""},
        "half a request line": {b"HTTP/1.1 408 Request Timeout"},
        "half a header": {b"HTTP/1.1 408 Request Timeout"},
        "half a body": {b"HTTP/1.1 408 Request Timeout"},
    }
    assert_serves(impatient)


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
def test_a_head_that_arrives_byte_by_byte_is_closed(impatient: Service, first: bytes) -> None:
    with connect(impatient) as sock:
        received = b""
        sock.sendall(first)
        while first and not received.endswith(b"}"):  # the whole response
            received += sock.recv(65536)
        sock.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        assert trickle(sock).startswith(b"HTTP/1.1 408")
    assert received.startswith(b"HTTP/1.1 200") == bool(first)


@pytest.mark.parametrize(
    "head",
    [
        JSON_HEAD,
        b"POST /v1/datasets?name=slow&format=text HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Length: 5000\r\n\r\n",
    ],
    ids=["json", "upload"],
)
def test_a_body_that_arrives_byte_by_byte_gets_408(impatient: Service, head: bytes) -> None:
    with connect(impatient) as sock:
        sock.sendall(head)
        answer = trickle(sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    assert b"100 bytes" in body
    assert json.loads(body)


def test_a_refused_body_that_keeps_arriving_is_cut_off(impatient: Service) -> None:
    with connect(impatient) as sock:
        sock.sendall(JSON_HEAD.replace(b"/v1/completions", b"/v1/nothing").replace(b"500", b"50000000"))
        assert trickle(sock).startswith(b"HTTP/1.1 404")


def test_an_upload_that_keeps_the_rate_may_take_longer_than_the_timeout(impatient: Service) -> None:
    def lines() -> Iterator[bytes]:
        for number in range(8):
            yield f"text {number} ".encode() * 100 + b"\n"
            time.sleep(0.3)

    answer = httpx.post(
        f"{impatient.url}/v1/datasets",
        params={"name": "steady", "format": "text"},
        content=lines(),
        headers={"Content-Type": "application/octet-stream"},
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 201, answer.text


def test_clients_that_do_not_read_lose_their_stream_and_hold_no_place(impatient: Service) -> None:
    body = json.dumps(
        {**SHORT, "max_tokens": 16_000, "n": 8, "logprobs": 20, "stream": True, "ignore_eos": True}
    ).encode()
    head = JSON_HEAD.replace(b"500", str(len(body)).encode())
    with contextlib.ExitStack() as stack:
        for _ in range(8):  # all places of this server
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            url = httpx.URL(impatient.url)
            sock.connect((url.host, url.port))
            sock.sendall(head + body)
        wait_until(lambda: impatient.log.read_text().count("response not read") >= 8)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: assert_serves(impatient), range(4)))
    wait_until(lambda: impatient.gauge("promptatlas_engine_n_running") == 0)
