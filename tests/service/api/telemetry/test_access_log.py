"""Access lines of the application, as structlog receives them and as they are written."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import structlog
from starlette.types import Message

from service.app import create_app
from service.engine.requests import Delta, Failed, Generate, RowDone
from service.errors import EngineFault
from service.hosting.ipc.messages import EstimateCost, Reply, Submit, Update
from service.logs import configure_logs
from tests.service.api.conftest import OpenWorld, World
from tests.service.api.requests.test_prompt_resolution import put

SECRET = "the text of a client"
KEY = "my-real-key"
KEYED = {"api_keys": f"ann:admin:{hashlib.sha256(KEY.encode()).hexdigest()}"}


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Reads the access lines that were written since the last call, with JSON logs."""
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    configured = structlog.get_config()
    is_first = True

    def read() -> list[dict[str, Any]]:
        nonlocal is_first
        if is_first:  # in the test itself: pytest replaces handlers after the set-up
            configure_logs("json")
            structlog.configure(cache_logger_on_first_use=False)
            is_first = False
        written = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
        return [line for line in written if line["event"] == "request"]

    yield read
    structlog.configure(**configured)
    logging.getLogger().handlers[:] = before
    logging.getLogger().setLevel(level)


def with_usage(world: World, n_input: Sequence[int]) -> None:
    """The engine's first reply has the number of tokens of each input."""
    answer = world.engine.on_message

    def on_message(message: Any) -> None:
        is_reply = isinstance(message, Reply)
        answer(
            Reply(request_id=message.request_id, updates=message.updates, n_input=tuple(n_input))
            if is_reply
            else message
        )

    world.engine.on_message = on_message  # type: ignore[method-assign]


def test_a_completion_has_one_line_with_caller_model_tokens_and_rows(open_world: OpenWorld, lines: Any) -> None:
    world = open_world(**KEYED)
    with_usage(world, (2, 2))
    lines()
    answer = world.client.post(
        "/v1/completions?note=hidden",
        json={"model": "demo", "prompt": [SECRET, SECRET], "n": 3, "max_tokens": 1},
        headers={"X-Request-ID": "req-7", "Authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == 200, answer.text
    (line,) = lines()
    assert line.pop("seconds") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "service.access",
        "request_id": "req-7",
        "method": "POST",
        "route": "/v1/completions",
        "path": "/v1/completions",
        "status": 200,
        "caller": "ann",
        "client": "testclient",
        "model": "demo",
        "prompt_tokens": 4,
        "completion_tokens": 6,
        "rows": 6,
    }
    assert answer.headers["X-Request-ID"] == "req-7"


def test_neither_texts_nor_keys_are_logged(
    open_world: OpenWorld, capsys: pytest.CaptureFixture[str], lines: Any
) -> None:
    world = open_world(**KEYED)
    headers = {"X-API-Key": KEY}
    lines()
    world.client.post("/v1/completions", json={"model": "demo", "prompt": SECRET, "stop": [SECRET]}, headers=headers)
    world.client.post("/v1/completions", json={"model": SECRET, "prompt": SECRET}, headers=headers)
    world.client.post("/v1/completions", json={"model": "demo", "prompt": SECRET, SECRET: 1}, headers=headers)
    world.client.post("/v1/completions", json={"model": "demo", "prompt": SECRET}, headers={"X-API-Key": KEY + "x"})
    written = capsys.readouterr().err
    assert written.count('"event": "request"') == 4
    assert SECRET not in written
    assert KEY not in written


def test_the_prompt_is_logged_as_version_and_hash(open_world: OpenWorld, lines: Any) -> None:
    world = open_world()
    hashes = [
        put(world, name, seed=seed).sha256.removeprefix("sha256:") for seed, name in enumerate(("qa", "qa", "cloze"))
    ]
    lines()
    mix = {"mix": [{"ref": "qa@1", "weight": 0.25}, {"ref": "cloze", "weight": 0.75}]}
    refs: list[Any] = ["qa", "qa@1", mix, {"concat": ["cloze", "qa@1"]}, {"ensemble": ["qa@1", "cloze"]}]
    for ref in refs:
        world.client.post("/v1/completions", json={"model": "demo", "prompt": "a", "prompt_ref": ref})
    world.client.post("/v1/completions", json={"model": "demo:qa", "prompt": "a"})
    found = [(line["prompt"], line["prompt_sha256"]) for line in lines()]
    assert found == [
        ("qa@2", hashes[1]),
        ("qa@1", hashes[0]),
        ("0.25*qa@1+0.75*cloze@1", f"{hashes[0]}+{hashes[2]}"),
        ("concat(cloze@1,qa@1)", f"{hashes[2]}+{hashes[0]}"),
        ("ensemble(qa@1,cloze@1)", f"{hashes[0]}+{hashes[2]}"),
        ("qa@2", hashes[1]),
    ]


def test_errors_are_named_by_their_title(world: World, lines: Any) -> None:
    lines()
    world.client.post("/v1/completions", json={"model": "nope", "prompt": "a"})
    world.client.post("/v1/completions", json={"model": "demo"})
    world.client.get("/v1/nowhere%0Aevil=1")
    world.client.get("/health")
    first, second, third = lines()
    assert (first["status"], first["error"], "model" in first) == (404, "Not found", False)
    assert (second["status"], second["error"]) == (422, "Invalid request")
    assert (third["route"], third["path"]) == ("unmatched", "/v1/nowhere%0Aevil=1")


def test_text_logs_have_one_line_per_request(
    open_world: OpenWorld, capsys: pytest.CaptureFixture[str], lines: Any
) -> None:
    configure_logs("text")
    world = open_world()
    capsys.readouterr()
    world.client.get("/v1/nowhere%0Aevil=1")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "request " in line]
    for part in ("method=GET", "route=unmatched", "status=404", "client=testclient", "request_id="):
        assert part in line


# --- streams ---


def half_a_stream(message: Submit | EstimateCost) -> Sequence[Update]:
    """Some tokens of a stream that does not end."""
    assert isinstance(message, Submit)
    assert isinstance(message.request, Generate)
    ids = (9, 9, 9) if message.request.echo else ()
    return [
        Delta(request_id=message.request.request_id, row=0, text="ab", token_ids=(*ids, 1, 2)),
        RowDone(request_id=message.request.request_id, row=1, finish_reason="stop", n_input=3, n_generated=4),
        Delta(request_id=message.request.request_id, row=0, text="c", token_ids=(5,)),
    ]


async def leave_early(app: Any, body: Mapping[str, Any]) -> None:
    """A client that disconnects after the first events of a stream."""
    gone = asyncio.Event()
    to_send = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Message:
        if to_send:
            return to_send.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if b"c" in message.get("body", b"") and b"data" in message.get("body", b""):
            gone.set()

    headers = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1:8000")]
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "POST", "headers": headers}
    path = {"path": "/v1/completions", "raw_path": b"/v1/completions", "query_string": b"", "root_path": ""}
    where = {"scheme": "http", "http_version": "1.1", "client": ("10.0.0.7", 1), "server": ("127.0.0.1", 8000)}
    with contextlib.suppress(Exception):
        await asyncio.wait_for(app({**scope, **path, **where}, receive, send), 20)


@pytest.mark.parametrize("is_echoed", [False, True])
def test_a_stream_is_logged_when_its_client_leaves_with_the_tokens_so_far(
    open_world: OpenWorld, lines: Any, is_echoed: bool
) -> None:
    world = open_world(script=half_a_stream)
    with_usage(world, (3,))
    lines()
    body = {"model": "demo", "prompt": "x", "n": 2, "stream": True, "echo": is_echoed}
    asyncio.run(leave_early(create_app(world.services), body))
    (line,) = lines()
    assert (line["status"], line["incomplete"], line["client"]) == (200, True, "10.0.0.7")
    assert (line["prompt_tokens"], line["completion_tokens"], line["rows"]) == (3, 3 + 4, 2)


def test_a_stream_that_fails_is_logged_with_its_error(open_world: OpenWorld, lines: Any) -> None:
    def script(message: Submit | EstimateCost) -> Sequence[Update]:
        id_ = message.request.request_id
        delta = Delta(request_id=id_, row=0, text="ab", token_ids=(1,))
        return [delta, Failed(request_id=id_, error=EngineFault("broken"))]

    world = open_world(script=script)
    lines()
    world.client.post("/v1/completions", json={"model": "demo", "prompt": "x", "stream": True})
    (line,) = lines()
    assert (line["status"], line["error"]) == (200, EngineFault.title)


def test_a_whole_stream_is_complete(world: World, lines: Any) -> None:
    with_usage(world, (2,))
    lines()
    world.client.post("/v1/completions", json={"model": "demo", "prompt": "x", "stream": True})
    (line,) = lines()
    assert "incomplete" not in line
    assert (line["prompt_tokens"], line["completion_tokens"]) == (2, 1)


def test_activations_have_input_tokens_and_rows(world: World, lines: Any) -> None:
    with_usage(world, (5, 6))
    lines()
    world.client.post("/v1/activations", json={"model": "demo", "inputs": ["a", "b"], "sites": ["embed"]})
    (line,) = lines()
    assert (line["prompt_tokens"], line["completion_tokens"], line["rows"]) == (11, 0, 2)


def test_requests_that_never_reached_the_engine_have_no_tokens(open_world: OpenWorld, lines: Any) -> None:
    world = open_world(ready=False)
    lines()
    world.client.post("/v1/completions", json={"model": "demo", "prompt": "x"})
    (line,) = lines()
    assert line["status"] == 503
    assert not {"prompt_tokens", "completion_tokens", "rows"} & set(line)
