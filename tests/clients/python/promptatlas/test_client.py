from __future__ import annotations

import httpx
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_server import FakeServer, Pieces, problem, reply

OK = {"status": "ok"}


def client_of(server: FakeServer, url: str | None = None, *, api_key: str | None = None, **environ: str) -> Client:
    return Client(url, api_key=api_key, transport=httpx.MockTransport(server), environ=environ)


def test_url_and_key_from_the_environment(server: FakeServer) -> None:
    server.will(reply(OK))
    client_of(server, PROMPTATLAS_URL="https://atlas.example/base/", PROMPTATLAS_API_KEY="k1").health()
    assert str(server.request.url) == "https://atlas.example/base/health"
    assert server.request.headers["authorization"] == "Bearer k1"


def test_arguments_override_the_environment(server: FakeServer) -> None:
    server.will(reply(OK))
    client_of(server, "http://here:1", api_key="k2", PROMPTATLAS_URL="http://there", PROMPTATLAS_API_KEY="k1").health()
    assert str(server.request.url) == "http://here:1/health"
    assert server.request.headers["authorization"] == "Bearer k2"


def test_default_url_and_no_key(server: FakeServer) -> None:
    server.will(reply(OK))
    client_of(server).health()
    assert str(server.request.url) == "http://127.0.0.1:8000/health"
    assert "authorization" not in server.request.headers
    assert server.request.headers["user-agent"].startswith("promptatlas-python/")
    assert server.request.headers["x-request-timeout"] == "600"


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8000", "http://", "/v1"])
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url: expected"):
        Client(url, environ={})
    with pytest.raises(ValueError, match="base_url: expected"):
        AsyncClient(url, environ={})


def test_the_servers_request_id_is_in_errors(client: Client, server: FakeServer) -> None:
    server.will(problem(404, "no model 'x'"))
    with pytest.raises(errors.NotFoundError) as caught:
        client.models.get("x")
    assert caught.value.request_id == "req_9"
    assert str(caught.value) == "404 Problem: no model 'x' (request req_9)"


def test_the_read_timeout_leaves_time_for_the_servers_504(client: Client, server: FakeServer) -> None:
    server.will(reply(OK))
    client.health(timeout_s=2)
    assert server.request.extensions["timeout"] == {"connect": 2, "read": 7, "write": 7, "pool": 7}


def test_redirects_are_not_followed(client: Client, server: FakeServer) -> None:
    server.will(httpx.Response(307, headers={"location": "http://elsewhere/"}))
    with pytest.raises(errors.ProblemError) as caught:
        client.health()
    assert caught.value.status == 307
    assert len(server.requests) == 1


def test_responses_are_always_closed(client: Client, server: FakeServer) -> None:
    for status in (200, 404):
        body = Pieces(b"<html>")
        server.will(httpx.Response(status, stream=body))
        with pytest.raises(errors.PromptAtlasError):
            client.health()
        assert body.closed


def test_undecodable_bodies(client: Client, server: FakeServer) -> None:
    answer = httpx.Response(200, stream=Pieces(b"no gzip"))
    answer.headers["content-encoding"] = "gzip"
    server.will(answer)
    with pytest.raises(errors.UnexpectedAnswerError):
        client.health()
