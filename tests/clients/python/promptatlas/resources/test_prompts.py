from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import safetensors.numpy
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply

MANIFEST: dict[str, Any] = {
    "name": "qa",
    "version": 3,
    "kind": "soft",
    "n_virtual": 2,
    "layers": None,
    "d_model": 3,
    "base": "demo",
    "base_revision": "ab" * 32,
    "sha256": "sha256:" + "cd" * 32,
    "created_at": "2026-01-02T03:04:05Z",
    "metrics": {"test/f1": 0.5},
}
ROWS = [
    {"name": name, "latest": 2, "versions": [2, 1], "kind": "soft", "base": "demo", "aliases": {"best": 1}}
    for name in ("arithmetic", "cloze", "qa")
]


def page(*rows: dict[str, Any], following: str | None = None) -> httpx.Response:
    return reply({"object": "list", "data": list(rows), "has_more": following is not None, "next": following})


def header_of(content: bytes) -> Any:
    n_bytes = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + n_bytes])["__metadata__"]["promptatlas"])


def test_tensors_are_uploaded_as_a_native_file(client: Client, server: FakeServer) -> None:
    server.will(reply(MANIFEST, status=201))
    manifest = client.prompts.upload("qa", tensors={"soft": np.ones((2, 3), np.float64)}, base="demo", notes={"lr": 1})
    assert (manifest.name, manifest.version, manifest.metrics) == ("qa", 3, {"test/f1": 0.5})
    assert dict(server.request.url.params) == {"name": "qa"}
    assert server.request.headers["content-type"] == "application/vnd.safetensors"
    assert header_of(server.request.content) == {"kind": "soft", "base": "demo", "notes": {"lr": 1}}
    tensors = safetensors.numpy.load(server.request.content)
    assert (tensors["soft"].dtype.name, tensors["soft"].shape) == ("float32", (2, 3))


@pytest.mark.parametrize(
    ("tensors", "more", "kind"),
    [
        ({"deep.3": [[1.0]], "deep.11": [[2.0]]}, {"where": "local"}, "deep"),
        ({"prefix": np.zeros((1, 2, 1, 2, 4))}, {"base_revision": "r"}, "prefix"),
    ],
)
def test_the_kind_follows_from_the_names(
    client: Client, server: FakeServer, tensors: dict[str, Any], more: dict[str, Any], kind: str
) -> None:
    server.will(reply(MANIFEST, status=201))
    client.prompts.upload("qa", tensors=tensors, base="demo", **more)
    assert header_of(server.request.content) == {"kind": kind, "base": "demo", **more}


@pytest.mark.parametrize("names", [["soft", "prefix"], ["deep.x"], ["hard"], [], ["deep.1", "soft"]])
def test_other_names_are_refused(client: Client, names: list[str]) -> None:
    with pytest.raises(ValueError, match="tensors: expected"):
        client.prompts.upload("qa", tensors={name: [[1.0]] for name in names}, base="demo")


def test_tensors_need_a_base(client: Client) -> None:
    with pytest.raises(errors.InvalidRequestError, match="base"):
        client.prompts.upload("qa", tensors={"soft": [[1.0]]})


def test_files_are_uploaded_as_they_are(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(reply(MANIFEST))
    for name, kind in (("qa.safetensors", "application/vnd.safetensors"), ("qa.zip", "application/zip")):
        (tmp_path / name).write_bytes(b"content")
        client.prompts.upload("qa", path=tmp_path / name, base="demo")
        assert server.request.headers["content-type"] == kind
        assert server.request.content == b"content"
        assert dict(server.request.url.params) == {"name": "qa", "base": "demo"}


def test_a_peft_folder_becomes_the_same_zip_each_time(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(reply(MANIFEST))
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md", "training_args.bin"):
        (tmp_path / name).write_text(name)
    client.prompts.upload("qa", peft_dir=tmp_path)
    client.prompts.upload("qa", peft_dir=str(tmp_path))
    first, second = (request.content for request in server.requests)
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == ["adapter_config.json", "adapter_model.safetensors"]
        assert archive.read("adapter_config.json") == b"adapter_config.json"


def test_pickled_adapters_are_not_uploaded(client: Client, server: FakeServer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json"):
        client.prompts.upload("qa", peft_dir=tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_text("pickle")
    with pytest.raises(errors.UnsafeFileError, match="pickle"):
        client.prompts.upload("qa", peft_dir=tmp_path)
    assert server.requests == []


def test_one_source_is_uploaded(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got none"):
        client.prompts.upload("qa")
    with pytest.raises(ValueError, match="tensors and path"):
        client.prompts.upload("qa", tensors={"soft": [[1.0]]}, path=tmp_path)


@pytest.mark.parametrize(
    ("name", "version", "path"),
    [
        ("qa", None, "/v1/prompts/qa"),
        ("qa", 3, "/v1/prompts/qa/versions/3"),
        ("qa@3", None, "/v1/prompts/qa/versions/3"),
        ("a/../b", None, "/v1/prompts/a%2F..%2Fb"),
    ],
)
def test_manifests(client: Client, server: FakeServer, name: str, version: int | None, path: str) -> None:
    server.will(reply(MANIFEST))
    manifest = client.prompts.get(name, version=version)
    assert server.request.url.raw_path.decode() == path
    assert manifest.created_at.isoformat() == "2026-01-02T03:04:05+00:00"


def test_aliases_are_resolved(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(page(*ROWS), reply(MANIFEST))
    client.prompts.get("qa@best")
    assert [request.url.path for request in server.requests] == ["/v1/prompts", "/v1/prompts/qa/versions/1"]
    server.will(page(*ROWS), httpx.Response(200, content=b"tensors"))
    client.prompts.download("qa", version="best", to=tmp_path / "qa")
    assert server.request.url.path == "/v1/prompts/qa/versions/1/content"
    server.will(page(*ROWS))
    with pytest.raises(errors.NotFoundError, match="no alias 'worst' of prompt 'qa'"):
        client.prompts.get("qa@worst")


def test_warnings_of_an_upload(client: Client, server: FakeServer) -> None:
    server.will(reply({**MANIFEST, "warnings": ["another model"]}, status=201), reply(MANIFEST))
    assert client.prompts.upload("qa", tensors={"soft": [[1.0]]}, base="demo").warnings == ["another model"]
    assert client.prompts.upload("qa", tensors={"soft": [[1.0]]}, base="demo").warnings == []


def test_the_second_argument_may_be_positional(client: Client, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "qa.safetensors").write_bytes(b"tensors")
    server.will(reply(MANIFEST, status=201))
    client.prompts.upload("qa", tmp_path / "qa.safetensors")
    assert server.request.content == b"tensors"
    server.will(reply(MANIFEST))
    client.prompts.get("qa", 3)
    assert server.request.url.path == "/v1/prompts/qa/versions/3"
    server.will(httpx.Response(200, content=b"tensors"))
    assert client.prompts.download("qa@3", tmp_path / "copy").read_bytes() == b"tensors"
    server.will(httpx.Response(204))
    client.prompts.delete("qa", 3)
    assert (server.request.method, server.request.url.path) == ("DELETE", "/v1/prompts/qa/versions/3")
    server.will(reply({"name": "qa", "alias": "best", "version": 3}))
    client.prompts.set_alias("qa", "best", 3)
    assert json.loads(server.request.content) == {"version": 3}


def test_a_version_is_named_once(client: Client) -> None:
    with pytest.raises(ValueError, match="expected none, since 'qa@3' has one"):
        client.prompts.get("qa@3", version=2)


def test_lists_continue_through_all_pages(client: Client, server: FakeServer) -> None:
    server.will(page(ROWS[0], following="c1"), page(ROWS[1], following="c2"), page(ROWS[2]))
    first = client.prompts.list(limit=1)
    assert [row.name for row in first.data] == ["arithmetic"]
    assert [row.name for row in first] == ["arithmetic", "cloze", "qa"]
    queries = [dict(request.url.params) for request in server.requests]
    assert queries == [{"limit": "1"}, {"limit": "1", "after": "c1"}, {"limit": "1", "after": "c2"}]


def test_every_page_includes_manifests_if_the_first_does(client: Client, server: FakeServer) -> None:
    server.will(page({**ROWS[0], "manifest": MANIFEST}, following="c1"), page(ROWS[1]))
    first, second = client.prompts.list(manifests=True)
    assert first.manifest is not None
    assert (first.manifest.name, second.manifest) == (MANIFEST["name"], None)
    queries = [dict(request.url.params) for request in server.requests]
    assert queries == [{"manifests": "true"}, {"manifests": "true", "after": "c1"}]


def test_the_last_page_has_no_next_page(client: Client, server: FakeServer) -> None:
    server.will(page(ROWS[0]))
    assert client.prompts.list().next_page() is None


def test_versions(client: Client, server: FakeServer) -> None:
    server.will(page(ROWS[0], following="c1"), page(ROWS[2]))
    assert client.prompts.versions("qa") == [1, 2]
    with pytest.raises(errors.NotFoundError, match="'other'"):
        client.prompts.versions("other")


def test_downloads(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(httpx.Response(200, content=b"tensors"))
    to = tmp_path / "qa.safetensors"
    assert client.prompts.download("qa@3", to=to) == to
    assert to.read_bytes() == b"tensors"
    assert server.request.url.raw_path.decode() == "/v1/prompts/qa/versions/3/content?format=native"


def test_the_latest_version_is_the_default(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(reply(MANIFEST), httpx.Response(200, content=b"zip"))
    client.prompts.download("qa", to=str(tmp_path / "qa.zip"), format="peft")
    assert server.request.url.raw_path.decode() == "/v1/prompts/qa/versions/3/content?format=peft"
    assert server.request.headers["accept"] == "application/zip"
    server.will(httpx.Response(200, content=b"zip"))
    client.prompts.download("qa@3", to=tmp_path / "qa.zip", format="peft", peft_type="CPT")
    assert server.request.url.params["peft_type"] == "CPT"


def test_a_download_that_is_refused_leaves_no_file(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(problem(404))
    with pytest.raises(errors.NotFoundError):
        client.prompts.download("qa@9", to=tmp_path / "qa.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_deleting(client: Client, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    client.prompts.delete("qa@3")
    assert (server.request.method, server.request.url.path) == ("DELETE", "/v1/prompts/qa/versions/3")
    for name in ("qa", "qa@best"):
        with pytest.raises(ValueError, match="qa@3"):
            client.prompts.delete(name)
    server.will(problem(409, "production points to it"))
    with pytest.raises(errors.ConflictError, match="production"):
        client.prompts.delete("qa", version=3)


def test_aliases(client: Client, server: FakeServer) -> None:
    server.will(reply({"name": "qa", "alias": "best", "version": 3}))
    assert client.prompts.set_alias("qa", "best", version=3).version == 3
    assert (server.request.method, server.request.url.path) == ("PUT", "/v1/prompts/qa/aliases/best")
    assert server.sent == {"version": 3}
    server.will(httpx.Response(204))
    client.prompts.delete_alias("qa", "best")
    assert (server.request.method, server.request.url.path) == ("DELETE", "/v1/prompts/qa/aliases/best")


def test_async_prompts(async_client: AsyncClient, server: FakeServer, tmp_path: Path) -> None:
    async def run() -> None:
        server.will(reply(MANIFEST))
        assert (await async_client.prompts.upload("qa", tensors={"soft": [[1.0]]}, base="demo")).version == 3
        assert (await async_client.prompts.get("qa@3")).name == "qa"
        server.will(page(ROWS[0], following="c1"), page(ROWS[2]))
        assert [row.name async for row in await async_client.prompts.list()] == ["arithmetic", "qa"]
        assert await async_client.prompts.versions("qa") == [1, 2]
        with pytest.raises(errors.NotFoundError):
            await async_client.prompts.versions("other")
        server.will(reply(MANIFEST), httpx.Response(200, content=b"tensors"))
        assert (await async_client.prompts.download("qa", to=tmp_path / "qa")).read_bytes() == b"tensors"
        server.will(reply({"name": "qa", "alias": "best", "version": 3}))
        assert (await async_client.prompts.set_alias("qa", "best", version=3)).alias == "best"
        server.will(httpx.Response(204))
        await async_client.prompts.delete_alias("qa", "best")
        await async_client.prompts.delete("qa", version=3)
        server.will(page(*ROWS), reply(MANIFEST))
        await async_client.prompts.get("qa@best")

    anyio.run(run)
    assert server.request.url.path == "/v1/prompts/qa/versions/1"
