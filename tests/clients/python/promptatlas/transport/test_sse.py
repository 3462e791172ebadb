from __future__ import annotations

import anyio
import httpx
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_server import FakeServer, Pieces, events, problem


def chunk(text: str) -> dict[str, object]:
    return {"id": "c", "created": 1, "model": "demo", "choices": [{"index": 0, "text": text}]}


def stream_of(*pieces: bytes, then: Exception | None = None) -> tuple[httpx.Response, Pieces]:
    body = Pieces(*pieces, then=then)
    return httpx.Response(
        200, stream=body, headers={"x-request-id": "req_4", "content-type": "text/event-stream"}
    ), body


def test_an_event_without_its_blank_line_was_cut_off(client: Client, server: FakeServer) -> None:
    server.will(stream_of(events(chunk("a")).removesuffix(b"\n"))[0])
    with pytest.raises(errors.BrokenStreamError):
        list(client.completions.create(model="demo", prompt="x", stream=True))


def test_another_content_type_is_unexpected(client: Client, server: FakeServer) -> None:
    server.will(httpx.Response(200, html="<p>a login page</p>"))
    with pytest.raises(errors.UnexpectedAnswerError, match="text/html"):
        list(client.completions.create(model="demo", prompt="x", stream=True))


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_all_line_endings_and_comments(client: Client, server: FakeServer, end: bytes) -> None:
    content = (b": a comment\n" + events(chunk("a"), chunk("b"))).replace(b"\n", end)
    server.will(stream_of(*(content[at : at + 3] for at in range(0, len(content), 3)), b"\n")[0])
    found = list(client.completions.create(model="demo", prompt="x", stream=True))
    assert [piece.choices[0].text for piece in found] == ["a", "b"]


def test_values_of_a_stream(client: Client, server: FakeServer) -> None:
    content = events(chunk("Hé"), chunk("\u2028llo"))
    response, body = stream_of(*(content[at : at + 1] for at in range(len(content))))
    server.will(response)
    with client.completions.create(model="demo", prompt="x", stream=True) as stream:
        assert [piece.choices[0].text for piece in stream] == ["Hé", "\u2028llo"]
    assert server.sent == {"model": "demo", "prompt": "x", "stream": True}
    assert server.request.headers["accept"] == "text/event-stream"
    assert stream.request_id == "req_4"
    assert body.closed


def test_an_error_before_the_first_value_is_raised_at_once(client: Client, server: FakeServer) -> None:
    server.will(problem(404))
    with pytest.raises(errors.NotFoundError):
        client.completions.create(model="demo:none", prompt="x", stream=True)


def test_an_error_in_the_stream_is_raised_in_order(client: Client, server: FakeServer) -> None:
    lost = {"error": {"message": "engine lost", "type": "unavailable", "code": "503", "param": None}}
    server.will(stream_of(events(chunk("a"), lost))[0])
    stream = client.completions.create(model="demo", prompt="x", stream=True)
    assert next(stream).choices[0].text == "a"
    with pytest.raises(errors.UnavailableError, match="engine lost") as caught:
        next(stream)
    assert caught.value.request_id == "req_4"


def test_a_stream_without_its_end_mark_is_an_error(client: Client, server: FakeServer) -> None:
    server.will(stream_of(events(chunk("a"), done=False))[0])
    with pytest.raises(errors.BrokenStreamError):
        list(client.completions.create(model="demo", prompt="x", stream=True))


def test_a_connection_that_breaks_inside_a_stream(client: Client, server: FakeServer) -> None:
    server.will(stream_of(events(chunk("a"), done=False), then=httpx.ReadError("cut"))[0])
    stream = client.completions.create(model="demo", prompt="x", stream=True)
    assert next(stream).choices[0].text == "a"
    with pytest.raises(errors.ConnectionFailedError, match="cut"):
        next(stream)
    assert len(server.requests) == 1


def test_leaving_a_stream_early_closes_it(client: Client, server: FakeServer) -> None:
    response, body = stream_of(*(events(chunk(str(count)), done=False) for count in range(100)))
    server.will(response)
    with client.completions.create(model="demo", prompt="x", stream=True) as stream:
        next(stream)
        assert not body.closed
    assert body.closed


@pytest.mark.parametrize("content", [b"data: {oops\n\n", b'data: {"id": 3}\n\n'])
def test_an_invalid_chunk_is_unexpected(client: Client, server: FakeServer, content: bytes) -> None:
    server.will(stream_of(content)[0])
    with pytest.raises(errors.UnexpectedAnswerError):
        list(client.completions.create(model="demo", prompt="x", stream=True))


def test_async_streams(async_client: AsyncClient, server: FakeServer) -> None:
    response, body = stream_of(events(chunk("a"), chunk("b")))
    server.will(response)

    async def run() -> list[str]:
        async with await async_client.completions.create(model="demo", prompt="x", stream=True) as stream:
            return [piece.choices[0].text async for piece in stream]

    assert anyio.run(run) == ["a", "b"]
    assert body.closed


def test_async_streams_that_break(async_client: AsyncClient, server: FakeServer) -> None:
    server.will(stream_of(events(chunk("a"), done=False))[0])

    async def run() -> None:
        async for _ in await async_client.completions.create(model="demo", prompt="x", stream=True):
            pass

    with pytest.raises(errors.BrokenStreamError):
        anyio.run(run)
