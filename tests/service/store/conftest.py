"""A small base shape, prompts for it, a clock that tests set, and the places where a store may lie."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import fsspec
import numpy as np
import pytest

from service.store.artifacts.store import ArtifactStore
from service.store.prompts.checks import BaseShape
from service.store.prompts.contents import PromptContents
from service.store.prompts.native_format import PromptFile, make_prompt
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore

MakeSoft = Callable[..., PromptFile]


class SetClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 0, 250, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **how_long: float) -> None:
        self.now += timedelta(**how_long)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def base() -> BaseShape:
    return BaseShape(name="tiny", revision="rev-1", n_layers=3, d_model=7, n_kv_heads=2, d_head=5, n_positions=31)


@pytest.fixture
def soft(base: BaseShape) -> MakeSoft:
    """Different seeds give different contents."""

    def make(seed: int, **options: Any) -> PromptFile:
        vectors = np.random.default_rng(seed).normal(size=(4, 7)).astype(np.float32)
        return make_prompt("soft", tensors={"soft": vectors}, **{"base": base, **options})

    return make


@pytest.fixture
def prompts(tmp_path: Any, clock: SetClock) -> PromptStore:
    return PromptStore(ArtifactStore(str(tmp_path / "store"), clock=clock), clock=clock)


@pytest.fixture
def contents(tmp_path: Any) -> PromptContents:
    """Contents of the same store, without copies on the host."""
    return PromptContents(ArtifactStore(str(tmp_path / "store")))


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """An S3 server on a free port of the loopback, and the environment that leads there."""
    s3fs = pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        yield
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    """A fresh place that is no disk."""
    place = uuid.uuid4().hex
    if request.param == "memory":
        return f"memory://{place}"
    request.getfixturevalue("s3")
    fsspec.filesystem("s3").mkdir(place)
    return f"s3://{place}/deep/atlas"


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """A fresh place of any sort."""
    if request.param == "disk":
        return str(tmp_path / "store")
    name = uuid.uuid4().hex
    if request.param == "memory":
        return f"memory://{name}"
    request.getfixturevalue("s3")
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}/atlas"


@pytest.fixture
def runs(place: str, clock: SetClock) -> RunStore:
    """Runs in a place of any sort."""
    return RunStore(ArtifactStore(place, clock=clock), clock=clock)


@pytest.fixture
def root(tmp_path: Any) -> str:
    """A fresh place on a disk."""
    return str(tmp_path / "local")


@pytest.fixture
def local(root: str, clock: SetClock) -> RunStore:
    """Runs on a disk, at ``root``."""
    return RunStore(ArtifactStore(root, clock=clock), clock=clock)
