"""Many clients at once, clients that read slowly, and clients that vanish."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx

from tests.chaos.lab import Lab
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Host, wait_for
from tests.chaos.watcher import check_refusal
from tests.chaos.workload import GREEDY, complete

N_AT_ONCE = 1600
N_SLOW = 20
N_VANISHING = 60
LONG = {**GREEDY, "max_tokens": 1000, "logprobs": 5, "stream": True}
"""A stream of about half a megabyte, more than the buffers of a connection take."""


def crowd(lab: Lab, ledger: Ledger) -> None:
    """1,600 requests at once, of all prompts: each gets its answer, at once or after a documented refusal."""
    host = lab.host()
    requests = [lab.rng.choice(list(lab.texts)) for _ in range(N_AT_ONCE)]
    begin_s = time.monotonic()
    asyncio.run(_ask_all(host, requests, lab=lab, ledger=ledger))
    ledger.injected(N_AT_ONCE)
    _require_idle(lab, host, ledger)
    ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
    print(f"  {N_AT_ONCE} requests in {time.monotonic() - begin_s:.0f} s", flush=True)


def slow_readers(lab: Lab, ledger: Ledger) -> None:
    """Streams whose clients read nothing for a while: others are served meanwhile, and every stream is complete."""
    host = lab.host()
    expected = complete(host.http, max_tokens=LONG["max_tokens"])
    with lab.watch(host, ledger), contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_stream(host, buffer_bytes=4096)) for _ in range(N_SLOW)]
        ledger.injected(N_SLOW)
        for _ in range(10):
            begin_s = time.monotonic()
            found = complete(host.http)
            ledger.recovered(time.monotonic() - begin_s)
            ledger.require(found == lab.texts[None], promise="others are served", otherwise=repr(found))
            time.sleep(0.3)
        for stream in streams:
            text = _text_of(_read_all(stream, slowly=True))
            ledger.require(text == expected, promise="slow streams are complete", otherwise=f"{len(text)} characters")
    _require_idle(lab, host, ledger)


def vanishing(lab: Lab, ledger: Ledger) -> None:
    """Clients that close or reset their connection in the middle of a stream: their rows are freed."""
    host = lab.host()
    with lab.watch(host, ledger):
        for _ in range(N_VANISHING):
            with _stream(host, buffer_bytes=1 << 16) as stream:
                for _ in range(lab.rng.randrange(8)):
                    stream.recv(200)
                if lab.rng.random() < 0.5:
                    # Closing then sends a reset, as a crashed client's system does.
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            ledger.injected()
    ledger.recovered(_require_idle(lab, host, ledger))


async def _ask_all(host: Host, requests: list[str | None], *, lab: Lab, ledger: Ledger) -> None:
    limits = httpx.Limits(max_connections=N_AT_ONCE, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=host.url, limits=limits, timeout=300) as client:

        async def ask(ref: str | None) -> None:
            while True:
                answer = await client.post("/v1/completions", json={**GREEDY, "prompt_ref": ref})
                if answer.status_code not in (429, 503):
                    break
                check_refusal(answer, ledger=ledger)
                ledger.checked("refusals say why and until when")
                await asyncio.sleep(float(answer.headers["Retry-After"]))
            is_right = answer.status_code == 200 and answer.json()["choices"][0]["text"] == lab.texts[ref]
            ledger.require(
                is_right, promise="right answers", otherwise=f"{ref}: {answer.status_code} {answer.text[:200]}"
            )

        await asyncio.gather(*map(ask, requests))


@contextlib.contextmanager
def _stream(host: Host, *, buffer_bytes: int) -> Iterator[socket.socket]:
    """A connection that has asked for a long stream and read nothing."""
    body = json.dumps(LONG).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as connection:
        # Before the connection is made: the size of its window follows from it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        connection.settimeout(120)
        connection.connect(("127.0.0.1", host.port))
        connection.sendall(head.encode() + body)
        yield connection


def _read_all(stream: socket.socket, *, slowly: bool) -> bytes:
    data = b""
    while block := stream.recv(2048):
        data += block
        if slowly and len(data) < 20_000:
            time.sleep(0.02)
    return data


def _text_of(data: bytes) -> str:
    """The joined text of a stream of server-sent events, sent in chunks."""
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        return head.decode()
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]
    if not lines or lines[-1] != "[DONE]":
        return f"a stream that ends in {lines[-1:]}"
    events: list[dict[str, Any]] = [json.loads(line) for line in lines[:-1]]
    return "".join(choice["text"] for event in events for choice in event.get("choices", ()))


def _require_idle(lab: Lab, host: Host, ledger: Ledger) -> float:
    """No row runs or waits, and no result file is left; returns the seconds until then."""

    def is_idle() -> bool:
        text = host.http.get("/metrics").text
        names = ("promptatlas_engine_n_running{", "promptatlas_engine_n_waiting{", "promptatlas_pending_requests{")
        rows = [line for line in text.splitlines() if line.startswith(names)]
        return all(float(line.split()[-1]) == 0 for line in rows) and not host.result_files()

    seconds = wait_for(is_idle, within_s=lab.ready_within_s, what="all rows and results are freed")
    ledger.checked("rows and results are freed")
    return seconds
