"""The whole store on filesystems that are no disk: memory, and S3 as moto plays it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from service.errors import Conflict, DamagedArtifact, NotFound, Unavailable
from service.store.artifacts.store import ArtifactStore
from service.store.files.remote_files import RemoteFiles, open_files
from service.store.files.s3_files import S3Files
from service.store.idempotency import Attempt, IdempotencyStore, StoredResponse
from service.store.prompts.store import PromptStore


@pytest.fixture
def remote(url: str, clock: Any) -> PromptStore:
    return PromptStore(ArtifactStore(url), clock=clock)


def test_the_life_of_a_prompt(remote: PromptStore, soft: Any, url: str) -> None:
    assert remote.list_names().items == []
    with pytest.raises(NotFound):
        remote.resolve("qa")
    one, is_new = remote.create("qa", prompt=soft(1))
    two, _ = remote.create("qa", prompt=soft(2))
    assert (one.version, two.version, is_new) == (1, 2, True)
    assert remote.create("qa", prompt=soft(1)) == (one, False)
    remote.set_alias("qa", alias="live", version=1)
    second = PromptStore(ArtifactStore(url))
    assert [second.resolve(ref) for ref in ("qa", "qa@1", "qa@live", two.sha256)] == [two, one, one, two]
    assert second.load(one).sha256 == soft(1).sha256
    with pytest.raises(Conflict):
        second.delete("qa", version=1)
    second.delete_alias("qa", alias="live")
    second.delete("qa", version=2)
    assert [manifest.version for manifest in remote.list_versions("qa").items] == [1]
    assert remote.create("qa", prompt=soft(2))[0].version == 3
    assert [(row.name, row.versions) for row in remote.list_names().items] == [("qa", (3, 1))]


def test_pages(remote: PromptStore, soft: Any) -> None:
    for name in ("b", "a", "c"):
        remote.create(name, prompt=soft(1))
    first = remote.list_names(limit=2)
    assert [row.name for row in first.items] == ["a", "b"]
    assert [row.name for row in remote.list_names(limit=2, after=first.next).items] == ["c"]


def test_creation_is_exclusive(url: str) -> None:
    files = open_files(url)
    assert isinstance(files, S3Files if url.startswith("s3:") else RemoteFiles)
    files.create("x/one", b"1")
    with pytest.raises(FileExistsError):
        files.create("x/one", b"2")
    assert files.read("x/one") == b"1"
    files.put("x/one", b"3")
    assert files.read_many(["x/one", "x/none"]) == {"x/one": b"3"}
    assert files.read_many([]) == {}
    assert files.names("x") == ["one"]
    assert files.names("none") == []
    files.remove("x/one")
    files.remove("x/one")
    with pytest.raises(FileNotFoundError):
        files.read("x/one")
    files.check()


def test_what_another_process_writes_is_seen_at_once(url: str) -> None:
    files = open_files(url)
    files.put("x/one", b"1")
    assert files.names("x") == ["one"]
    # An instance of its own knows and tells as little of the others as a process of its own.
    other, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    other.pipe_file(f"{root}/x/two", b"2")
    assert files.names("x") == ["one", "two"]


def test_damage_is_seen(remote: PromptStore, soft: Any, url: str) -> None:
    manifest, _ = remote.create("qa", prompt=soft(1))
    filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    content = next(path for path in filesystem.find(root) if path.endswith("_prompt.safetensors"))
    filesystem.pipe_file(content, filesystem.cat_file(content)[:-2])
    with pytest.raises(DamagedArtifact, match="prompt qa@1 is damaged"):
        remote.load(manifest)
    filesystem.rm_file(content)
    with pytest.raises(DamagedArtifact, match="is missing"):
        remote.load(manifest)


def test_the_sweep_removes_what_no_manifest_names(remote: PromptStore, soft: Any, url: str) -> None:
    manifest, _ = remote.create("qa", prompt=soft(1))
    remote.create("qa", prompt=soft(2))
    remote.delete("qa", version=2)
    files = open_files(url)
    files.put("prompts/qa/versions/3/_0011223344556677_prompt.safetensors", b"half")
    assert ArtifactStore(url).sweep() == 0
    later = datetime.now(timezone.utc) + timedelta(days=1)
    assert ArtifactStore(url, clock=lambda: later).sweep() == 1
    assert remote.load(manifest).sha256 == soft(1).sha256
    assert remote.create("qa", prompt=soft(3))[0].version == 3


def test_idempotency(url: str, clock: Any) -> None:
    store = IdempotencyStore(ArtifactStore(url), clock=clock)
    scope = {"api_key_name": "ann", "route": "POST /v1/prompts"}
    attempt = store.begin("k", body=b"body", **scope)
    assert isinstance(attempt, Attempt)
    with pytest.raises(Conflict):
        store.begin("k", body=b"body", **scope)
    store.finish(attempt, response=StoredResponse(status=201, body=b"x"))
    assert store.begin("k", body=b"body", **scope) == StoredResponse(status=201, body=b"x")
    clock.advance(days=3)
    assert store.sweep() == 1


class NoExclusiveMode:
    """What a driver without exclusive creation does when asked for it."""

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filesystem, name)

    def pipe_file(self, path: str, data: bytes, **options: Any) -> None:
        if options:
            raise TypeError("unexpected keyword argument 'mode'")
        self._filesystem.pipe_file(path, data)


def test_a_driver_without_exclusive_mode_looks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    files = RemoteFiles(f"memory://{uuid.uuid4().hex}")
    real = fsspec.core.url_to_fs

    def url_to_fs(url: str, **options: Any) -> Any:
        filesystem, root = real(url, **options)
        return NoExclusiveMode(filesystem), root

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    files.create("a/b", b"1")
    with pytest.raises(FileExistsError):
        files.create("a/b", b"2")
    assert files.read("a/b") == b"1"


def test_a_store_that_is_away_is_unavailable_and_keeps_its_address_to_itself(
    monkeypatch: pytest.MonkeyPatch, soft: Any
) -> None:
    class Away:
        def __getattr__(self, name: str) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                raise ConnectionError("cannot reach https://secret.example")

            return call

    prompts = PromptStore(ArtifactStore("memory://away"))
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url, **options: (Away(), "root"))
    for call in (
        lambda: prompts.resolve("qa"),
        lambda: prompts.create("qa", prompt=soft(1)),
        lambda: prompts.list_names(),
        lambda: ArtifactStore("", files=RemoteFiles("memory://away")).check(),
    ):
        with pytest.raises(Unavailable, match="The store could not be") as caught:
            call()
        assert "secret" not in caught.value.detail


def test_a_store_that_is_opened_before_a_fork_is_used_after_it(url: str, soft: Any) -> None:
    if url.startswith("s3:"):
        code = (
            "import os, sys; from service.store.files.remote_files import open_files; files = open_files(sys.argv[1]);"
            "child = os.fork(); files.put('x/child' if child == 0 else 'x/parent', b'1');"
            "child == 0 and os._exit(0); sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
        )
        subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)
        assert open_files(url).names("x") == ["child", "parent"]
        return
    prompts = PromptStore(ArtifactStore(url))
    manifest, _ = prompts.create("qa", prompt=soft(1))
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = prompts.load(prompts.resolve("qa")).sha256 == manifest.sha256
        finally:
            os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_listing_of_memory_that_other_threads_disturb_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files("memory://disturbed")
    files.put("things/one", b"1")
    errors: list[Exception] = [KeyError("/disturbed/things/gone"), RuntimeError("dictionary changed size")]
    ls = MemoryFileSystem.ls

    def disturbed(self: MemoryFileSystem, path: str, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return ls(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "ls", disturbed)
    assert files.names("things") == ["one"]
    assert errors == []
