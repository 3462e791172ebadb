"""Datasets: uploads of files and records, and manifests."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import httpx
import numpy as np
import pytest
from promptatlas import AsyncClient, Client, errors, types
from promptatlas.transport.call import Upload
from promptatlas.transport.files import CHUNK_BYTES, FileStream

from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply

MANIFEST: dict[str, Any] = {
    "name": "rivers",
    "format": "jsonl",
    "sha256": "sha256:" + "ab" * 32,
    "n_records": 3,
    "n_bytes": 120,
    "splits": {"train": 2, "test": 1},
    "template": {"input": "{input}", "target": "{target}"},
    "fields": ["input", "target"],
    "created_at": "2026-01-02T03:04:05Z",
}
ITEMS = [
    {"input": "Ana is in the", "target": " kitchen", "answers": [" kitchen", " cellar"], "split": "test", "index": 4},
    {"text": "Ben walks.", "split": "train", "index": 0},
]
PEEK = {**MANIFEST, "object": "list", "data": ITEMS, "has_more": True, "next": "5"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_files_are_uploaded(client: Client, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(b'{"data": []}')
    server.will(reply(MANIFEST, status=201))
    manifest = client.datasets.upload("squad", path=tmp_path / "train.json", format="squad")
    assert (manifest.name, manifest.splits) == ("rivers", {"train": 2, "test": 1})
    assert (server.request.method, server.request.url.path) == ("POST", "/v1/datasets")
    assert dict(server.request.url.params) == {"name": "squad", "format": "squad"}
    assert server.request.content == b'{"data": []}'
    assert server.request.headers["content-length"] == "12"
    assert server.request.headers["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in server.request.headers
    assert "idempotency-key" in server.request.headers


def test_the_second_argument_may_be_positional(client: Client, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"text": "a"}')
    server.will(reply(MANIFEST, status=201), reply(PEEK))
    client.datasets.upload("rivers", tmp_path / "train.jsonl")
    assert server.request.content == b'{"text": "a"}'
    client.datasets.peek("rivers", "test")
    assert server.request.url.params["split"] == "test"


def test_records_are_written_as_json_lines(client: Client, server: FakeServer, folder: Path) -> None:
    def records() -> Iterator[Any]:
        yield {"input": "é\u2028", "target": np.int64(7)}
        yield "running\ntext"

    server.will(reply(MANIFEST, status=201))
    client.datasets.upload("rivers", records=records())
    lines = server.request.content.decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"input": "é\u2028", "target": 7}, {"text": "running\ntext"}]
    assert list(folder.iterdir()) == []


def test_a_retry_sends_the_whole_upload(client: Client, server: FakeServer, folder: Path, slept: list[float]) -> None:
    server.will(httpx.ConnectError("refused"), problem(503), reply(MANIFEST, status=201))
    client.datasets.upload("rivers", records=iter([{"text": "a"}]))
    contents = [request.content for request in server.requests]
    assert contents == [b'{"text": "a"}\n'] * 3
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert slept == [0.5, 1.0]


def test_large_files_are_streamed() -> None:
    content = b"x" * (2 * CHUNK_BYTES + 5)
    opened: list[BinaryIO] = []

    def open_() -> BinaryIO:
        opened.append(io.BytesIO(content))
        return opened[-1]

    seen: list[int] = []
    stream = FileStream(Upload(n_bytes=len(content), open=open_), show=seen.append)
    pieces = iter(stream)
    assert len(next(pieces)) == CHUNK_BYTES
    assert opened[0].tell() == CHUNK_BYTES
    assert b"".join(pieces) == content[CHUNK_BYTES:]
    assert seen == [CHUNK_BYTES, 2 * CHUNK_BYTES, len(content)]
    assert opened[0].closed


def test_texts_are_lines_for_the_format_text(client: Client, server: FakeServer, folder: Path) -> None:
    server.will(reply(MANIFEST, status=201))
    client.datasets.upload("prose", records=["One.", "Zwei – é."], format="text", cloze=True)
    assert server.request.content == "One.\nZwei – é.\n".encode()
    assert dict(server.request.url.params) == {"name": "prose", "format": "text", "cloze": "true"}
    for wrong in ("two\nlines", {"text": "x"}):
        with pytest.raises(ValueError, match="as number 1"):
            client.datasets.upload("prose", records=["One.", wrong], format="text")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "template", [{"input": "{q}\n", "target": "{a}"}, types.Template(input="{q}\n", target="{a}"), {"target": "{a}"}]
)
def test_templates(client: Client, server: FakeServer, folder: Path, template: Any) -> None:
    server.will(reply(MANIFEST))
    client.datasets.upload("rivers", records=[{"q": "x"}], template=template)
    params = dict(server.request.url.params)
    assert params["target"] == "{a}"
    assert params.get("input", "{q}\n") == "{q}\n"


@pytest.mark.parametrize("record", [3, {"a": float("nan")}, {"a": object()}, None])
def test_invalid_records_are_not_sent(client: Client, server: FakeServer, folder: Path, record: Any) -> None:
    with pytest.raises(ValueError, match=r"records: .*number 1"):
        client.datasets.upload("rivers", records=[{"text": "a"}, record])
    assert server.requests == []
    assert list(folder.iterdir()) == []


def test_invalid_uploads(client: Client, server: FakeServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of path and records, got none"):
        client.datasets.upload("rivers")
    with pytest.raises(ValueError, match="got both"):
        client.datasets.upload("rivers", path="x", records=[])
    with pytest.raises(ValueError, match="template: expected texts under 'input' and 'target', got 'output'"):
        client.datasets.upload("rivers", records=[], template={"output": "x"})
    with pytest.raises(FileNotFoundError):
        client.datasets.upload("rivers", path=tmp_path / "none")
    assert server.requests == []
    server.will(problem(422, "line 3: expected 'input' and 'target', got 'x'"))
    with pytest.raises(errors.InvalidRequestError, match="line 3"):
        client.datasets.upload("rivers", records=[{"x": 1}])


def test_lists(client: Client, server: FakeServer) -> None:
    server.will(
        reply({"data": [MANIFEST], "has_more": True, "next": "c"}),
        reply({"data": [{**MANIFEST, "name": "demo-qa", "builtin": True}]}),
    )
    assert [(row.name, row.builtin) for row in client.datasets.list(limit=1)] == [("rivers", False), ("demo-qa", True)]
    assert dict(server.request.url.params) == {"limit": "1", "after": "c"}


def test_a_manifest(client: Client, server: FakeServer) -> None:
    server.will(reply(PEEK))
    manifest = client.datasets.get("hub:owner/name:config")
    assert server.request.url.raw_path == b"/v1/datasets/hub:owner%2Fname:config?limit=1"
    assert (manifest.n_records, manifest.fields) == (3, ["input", "target"])


def test_a_peek(client: Client, server: FakeServer) -> None:
    server.will(reply(PEEK))
    found = client.datasets.peek("rivers", split="test", limit=2, after="3", template={"input": "{input}?"})
    assert server.request.url.path == "/v1/datasets/rivers"
    assert dict(server.request.url.params) == {"split": "test", "limit": "2", "after": "3", "input": "{input}?"}
    assert [(item.input, item.text, item.answers) for item in found.data] == [
        ("Ana is in the", None, [" kitchen", " cellar"]),
        (None, "Ben walks.", None),
    ]
    assert (found.next, found.splits) == ("5", {"train": 2, "test": 1})


def test_loading(client: Client, server: FakeServer) -> None:
    server.will(reply(MANIFEST))
    assert client.datasets.load("hub:owner/name:config").n_records == 3
    assert server.request.method == "PUT"
    assert server.request.url.raw_path == b"/v1/datasets/hub:owner%2Fname:config"
    server.will(problem(404, "the hub has no such dataset"))
    with pytest.raises(errors.NotFoundError, match="the hub has no such dataset"):
        client.datasets.load("hub:owner/nope")


def test_deleting(client: Client, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    client.datasets.delete("rivers")
    assert (server.request.method, server.request.url.path) == ("DELETE", "/v1/datasets/rivers")
    server.will(problem(409, "it comes with the server"))
    with pytest.raises(errors.ConflictError, match="it comes with the server"):
        client.datasets.delete("demo-qa")


def test_async_datasets(async_client: AsyncClient, server: FakeServer, folder: Path) -> None:
    async def run() -> None:
        server.will(httpx.ConnectError("refused"), reply(MANIFEST, status=201))
        assert (await async_client.datasets.upload("rivers", records=["a"])).n_records == 3
        assert [request.content for request in server.requests] == [b'{"text": "a"}\n'] * 2
        server.will(reply({"data": [MANIFEST]}))
        assert [row.name async for row in await async_client.datasets.list()] == ["rivers"]
        server.will(reply(PEEK))
        assert (await async_client.datasets.get("rivers")).n_bytes == 120
        assert len((await async_client.datasets.peek("rivers")).data) == 2
        server.will(httpx.Response(204))
        await async_client.datasets.delete("rivers")

    anyio.run(run)
