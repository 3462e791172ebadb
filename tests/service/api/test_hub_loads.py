"""Loads of the hub over HTTP, with a ``datasets`` library that answers when the test lets it."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.api.hub_loads import HubLoads, datasets_in
from service.errors import Busy, NotFound, Unavailable
from service.settings import ApiKey, Scope
from tests.service.api.conftest import OpenWorld, World
from tests.service.api.run_world import BODY, with_queue

SCOPES: tuple[Scope, ...] = ("read", "write")
KEYS = tuple(ApiKey(name=scope, scope=scope, sha256=hashlib.sha256(scope.encode()).hexdigest()) for scope in SCOPES)


class FakeLibrary:
    """Takes the place of the ``datasets`` module. started: names of the loads, in order."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.answers = threading.Event()
        self.has_started = threading.Semaphore(0)

    def load_dataset(self, path: str, **_options: object) -> dict[str, Any]:
        self.started.append(path.removeprefix("hf://datasets/"))
        self.has_started.release()
        assert self.answers.wait(10)
        if path.endswith("/nope"):
            raise type("DatasetNotFoundError", (Exception,), {})("/secret")
        return {"train": [{"input": "a", "target": "b"}]}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibrary]:
    fake = FakeLibrary()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    yield fake
    fake.answers.set()


def as_(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


def test_a_hub_that_does_not_answer_holds_two_threads_and_a_short_queue(
    open_world: OpenWorld, library: FakeLibrary
) -> None:
    world = open_world(api_keys=KEYS)

    def get(name: str) -> Any:
        return world.client.get(f"/v1/datasets/hub:own/{name}", headers=as_("write"))

    with ThreadPoolExecutor(12) as pool:
        first = [pool.submit(get, name) for name in ("a", "b")]
        for _ in range(2):
            assert library.has_started.acquire(timeout=60)
        second = [pool.submit(get, name) for name in ("c", "nope", "a", "a")]  # "a" is loaded already
        while len(world.services.hub._waiting) < 2:
            time.sleep(0.01)
        for name in ("e", "f", "g"):
            refused = get(name)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
        # Calls of the store and of other routes are answered all the while.
        for _ in range(40):
            assert world.client.get("/v1/datasets", headers=as_("read")).status_code == 200
            assert world.client.get("/v1/prompts", headers=as_("read")).status_code == 200
        assert sorted(library.started) == ["own/a", "own/b"]
        library.answers.set()
        statuses = [each.result().status_code for each in (*first, *second)]
    assert statuses == [200, 200, 200, 404, 200, 200]
    assert sorted(library.started) == ["own/a", "own/b", "own/c", "own/nope"]
    assert get("e").status_code == 200


def test_a_first_load_needs_the_scope_write(open_world: OpenWorld, library: FakeLibrary) -> None:
    library.answers.set()
    world = open_world(api_keys=KEYS)
    url = "/v1/datasets/hub:own/a"
    assert world.client.get(url).status_code == 401
    refused = world.client.get(url, headers=as_("read"))
    assert refused.status_code == 404
    assert "scope 'write'" in refused.json()["detail"]
    assert world.client.put(url, headers=as_("read")).status_code == 403
    assert library.started == []
    loaded = world.client.put(url, headers=as_("write"))
    assert (loaded.status_code, loaded.json()["name"]) == (200, "hub:own/a")
    assert world.client.get(url, headers=as_("read")).status_code == 200
    assert world.client.put(url, headers=as_("write")).json() == loaded.json()
    assert library.started == ["own/a"]


def test_without_keys_a_get_loads_nothing(world: World, library: FakeLibrary) -> None:
    library.answers.set()
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    for headers in ({}, link):
        assert world.client.get("/v1/datasets/hub:own/a", headers=headers).status_code == 404
    assert library.started == []
    assert world.client.put("/v1/datasets/hub:own/a").status_code == 200
    assert world.client.get("/v1/datasets/hub:own/a").json()["data"][0]["input"] == "a"


@pytest.mark.parametrize(("name", "status"), [("demo-qa", 200), ("none", 404), ("hub:x", 422), ("hub:own/nope", 404)])
def test_put_loads_datasets_of_the_hub_only(world: World, library: FakeLibrary, name: str, status: int) -> None:
    library.answers.set()
    answer = world.client.put(f"/v1/datasets/{name}")
    assert answer.status_code == status
    assert "secret" not in answer.text


def test_the_store_that_routes_read_loads_nothing(world: World, library: FakeLibrary) -> None:
    for read in (world.services.datasets.get, world.services.datasets.peek, world.services.datasets.examples):
        with pytest.raises(NotFound, match="is not stored here"):
            read("hub:own/a")
    assert library.started == []


def test_a_run_loads_its_datasets_before_it_is_planned(world: World, library: FakeLibrary) -> None:
    library.answers.set()
    with_queue(world)
    spec = {**BODY["spec"], "dataset": "hub:own/nope"}
    refused = world.client.post("/v1/runs", json={**BODY, "spec": spec})
    assert refused.status_code == 404
    assert refused.json()["errors"][0]["loc"] == ["spec", "dataset"]
    assert library.started == ["own/nope"]


def test_names_are_found_at_any_depth_of_a_spec() -> None:
    source = {"activations": {"dataset": "hub:a/c", "layer": 1}}
    spec = {
        "dataset": "hub:a/b",
        "datasets": ["demo-qa", "hub:a/d:main", 7],
        "priors": [{"fit": source}, {"kind": "text", "text": "hub:x/y"}],
        "sources": [{"texts": ["hub:x/y"]}, {"dataset": "hub:a/b"}],
        "name": "hub:x/y",
    }
    assert datasets_in(spec) == {
        "hub:a/b": ("dataset",),
        "hub:a/d:main": ("datasets", 1),
        "hub:a/c": ("priors", 0, "fit", "activations", "dataset"),
    }


class SlowStore:
    """A store whose loads take until ``go`` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.n_loads = 0

    def is_stored(self, _name: str) -> bool:
        return False

    def get(self, _name: str) -> None:
        self.n_loads += 1
        assert self.go.wait(60)


def run(work: Callable[[HubLoads, SlowStore], Any], **options: Any) -> None:
    store = SlowStore()

    async def main() -> None:
        await work(HubLoads(store, **options), store)  # type: ignore[arg-type]

    try:
        asyncio.run(main())
    finally:
        store.go.set()


def test_a_request_does_not_wait_forever_but_its_load_goes_on() -> None:
    async def work(loads: HubLoads, store: SlowStore) -> None:
        for _ in range(2):
            with pytest.raises(Unavailable, match="still being loaded") as caught:
                await loads.ensure("hub:a/b")
            assert caught.value.retry_after_s
        assert store.n_loads == 1
        (load,) = loads._running.values()
        store.go.set()
        await load
        assert not loads._running

    run(work, patience_s=0.01)


def test_a_queue_of_no_length_refuses_at_once() -> None:
    async def work(loads: HubLoads, _store: SlowStore) -> None:
        running = asyncio.ensure_future(loads.ensure("hub:a/b"))
        while not loads._running:
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await loads.ensure("hub:a/c")
        running.cancel()

    run(work, max_running=1, max_waiting=0)
