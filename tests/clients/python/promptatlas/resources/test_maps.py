"""Making maps, fetching them, and projecting further points."""

from __future__ import annotations

import json
from email.message import Message
from email.parser import BytesParser
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import safetensors.numpy
from promptatlas import AsyncClient, Client, errors, types

from tests.clients.python.promptatlas.fake_maps import ID, INFO, ROW, SPEC, map_reply, neighbors_reply, placed_reply
from tests.clients.python.promptatlas.fake_runs import ended, info
from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply, tensor_bytes, tensors_reply


def parts(request: httpx.Request) -> dict[str, bytes]:
    """The parts of a form."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message: Message = BytesParser().parsebytes(head + request.content)
    found: dict[str, bytes] = {}
    for part in message.get_payload():
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = content
    return found


def test_making_one(client: Client, server: FakeServer) -> None:
    server.will(reply(info(id=ID, kind="map"), status=202))
    run = client.maps.make(
        model="demo",
        sources=[types.DatasetSource(dataset="demo-qa"), {"prompts": ("qa@1",)}],
        layers=range(0, 6, 3),
        run_name="atlas",
        request_id="mine",
    )
    assert (run.id, run.kind) == (ID, "map")
    assert (server.request.method, server.request.url.path) == ("POST", "/v1/runs")
    assert server.sent == {"kind": "map", "spec": SPEC, "name": "atlas"}
    assert server.request.headers["x-request-id"] == "mine"
    server.will(reply(ended(id=ID, kind="map")), map_reply())
    atlas = run.refresh().map(layer=3)
    assert (atlas.id, len(atlas)) == (ID, 10)
    assert str(server.request.url.query, "ascii") == "layer=3"


def test_invalid_requests_are_not_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError, match="method"):
        client.maps.make(model="demo", sources=[{"dataset": "demo-qa"}], method="magic")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidRequestError, match="sources"):
        client.maps.make(model="demo", sources=[])
    assert server.requests == []


def test_only_runs_of_kind_map_have_a_map(client: Client, server: FakeServer) -> None:
    server.will(reply(ended()))
    with pytest.raises(ValueError, match="expected a run of kind 'map', got one of kind 'tune'"):
        client.runs.get(ID).map()


def test_one(client: Client, server: FakeServer) -> None:
    server.will(map_reply())
    atlas = client.maps.get(ID)
    assert server.request.url.path == f"/v1/maps/{ID}"
    assert server.request.headers["accept"] == "application/vnd.safetensors"
    assert (atlas.id, atlas.name, atlas.model, atlas.method) == (ID, "atlas", "demo", "pca")
    assert (atlas.layers, atlas.sources, atlas.spec) == ([0, 3], ["questions", "tuned"], SPEC)
    assert atlas.quality[0].trustworthiness == 0.875
    assert atlas.info.revision == INFO["revision"]
    server.will(problem(404, "the run that makes it is queued"))
    with pytest.raises(errors.NotFoundError, match="is queued"):
        client.maps.get(ID, layer=0)


def test_all(client: Client, server: FakeServer) -> None:
    server.will(reply({"data": [ROW], "has_more": True, "next": "c"}), reply({"data": [{**ROW, "id": "run-8"}]}))
    assert [row.id for row in client.maps.list(limit=1)] == [ID, "run-8"]
    assert dict(server.request.url.params) == {"limit": "1", "after": "c"}


def test_deletion(client: Client, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    client.maps.delete(ID)
    assert (server.request.method, server.request.url.path) == ("DELETE", f"/v1/maps/{ID}")


def test_neighbors(client: Client, server: FakeServer) -> None:
    server.will(map_reply(), neighbors_reply())
    atlas = client.maps.get(ID)
    found = atlas.neighbors(6, k=2, metric="cosine")
    assert (server.request.method, server.request.url.path) == ("GET", f"/v1/maps/{ID}/neighbors")
    assert dict(server.request.url.params) == {"layer": "3", "point": "1", "k": "2", "metric": "cosine"}
    assert (found.index, found.distance, found.role) == ([2, 3], [0.125, 0.5], ["draw", "snapshot"])
    with pytest.raises(ValueError, match="point: expected 0 to 9, got 10"):
        atlas.neighbors(10)


def test_projecting_vectors(client: Client, server: FakeServer) -> None:
    server.will(map_reply(), placed_reply())
    placed = client.maps.get(ID).project(vectors=[[1, 2], [3, 4]], layers=[3], timeout_s=7)
    assert (server.request.method, server.request.url.path) == ("POST", f"/v1/maps/{ID}/project")
    assert server.request.headers["accept"] == "application/vnd.safetensors"
    assert server.request.headers["x-request-timeout"] == "7"
    sent = parts(server.request)
    assert json.loads(sent["request"]) == {"sources": [], "layers": [3]}
    vectors = safetensors.numpy.load(sent["vectors"])["vectors"]
    np.testing.assert_array_equal(vectors, np.array([[1, 2], [3, 4]], np.float32), strict=True)
    assert placed.x.tolist() == [0.5, 10.5]
    assert placed.role.tolist() == ["placed", "placed"]
    assert placed.axis_names(0) == {"x": "x (50%)", "y": "y (25%)"}


def test_projecting_texts_and_sources(client: Client, server: FakeServer) -> None:
    server.will(map_reply(), placed_reply())
    atlas = client.maps.get(ID)
    atlas.project(texts=["Ana"], prompt_ref="qa@2", per="token", sources=[types.PromptsSource(prompts=["qa@1"])])
    texts = {"texts": ["Ana"], "prompt_ref": "qa@2", "per": "token"}
    assert server.sent == {"sources": [texts, {"prompts": ["qa@1"]}]}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "expected texts, sources or vectors, got none"),
        ({"layers": [0]}, "expected texts, sources or vectors, got none"),
        ({"per": "token", "sources": [{"dataset": "demo-qa"}]}, "expected texts for per"),
        ({"vectors": [1.0, 2.0]}, r"shape \[n, d_model\], got shape \[2\]"),
        ({"vectors": [[1.0, float("nan")]]}, "finite"),
        ({"vectors": np.zeros((0, 2))}, r"got shape \[0, 2\]"),
    ],
)
def test_invalid_projections(client: Client, server: FakeServer, given: dict[str, Any], what: str) -> None:
    server.will(map_reply())
    atlas = client.maps.get(ID)
    with pytest.raises(ValueError, match=what):
        atlas.project(**given)
    with pytest.raises(errors.InvalidRequestError):
        atlas.project(sources=[{"weather": "fine"}])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        tensors_reply(tensor_bytes({"x": np.zeros(2, np.float32)}, metadata=INFO)),
        tensors_reply(b"not a file"),
        map_reply({"y": np.zeros(3, np.float32)}),
        map_reply({"token.offsets": np.zeros(1, np.int64)}),
        tensors_reply(tensor_bytes({}, metadata={})),
    ],
)
def test_a_response_that_is_no_map(client: Client, server: FakeServer, answer: httpx.Response) -> None:
    server.will(answer)
    with pytest.raises(errors.UnexpectedAnswerError):
        client.maps.get(ID)


def test_a_map_without_metadata(client: Client, server: FakeServer) -> None:
    server.will(placed_reply())
    with pytest.raises(errors.UnexpectedAnswerError, match="MapInfo"):
        client.maps.get(ID)


def test_async_maps(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply(ended(id=ID, kind="map"), status=202), map_reply(), placed_reply())
        begun = await async_client.maps.make(model="demo", sources=[{"dataset": "demo-qa"}], run_name="x")
        assert server.sent == {
            "kind": "map",
            "spec": {"model": "demo", "sources": [{"dataset": "demo-qa"}]},
            "name": "x",
        }
        atlas = await begun.map()
        assert (await atlas.project(texts=["Ana"])).x.tolist() == [0.5, 10.5]
        assert server.sent == {"sources": [{"texts": ["Ana"]}]}
        server.will(map_reply())
        assert (await async_client.maps.get(ID, layer=0)).method == "pca"
        server.will(reply({"data": [ROW]}))
        assert [row.id async for row in await async_client.maps.list()] == [ID]
        server.will(httpx.Response(204))
        await async_client.maps.delete(ID)

    anyio.run(run)
    assert server.request.method == "DELETE"
