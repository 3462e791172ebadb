"""Number of round trips to the store of each route: what a request waits for if the store is a bucket."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest

from service.queueing.queue import RunQueue
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import LocalFiles
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore
from tests.service.api.conftest import DEMO, OpenWorld, World
from tests.service.api.run_world import MemoryQueue, work_on

OPERATIONS = ("read", "read_many", "put", "put_file", "open", "create", "remove", "remove_folder", "names", "walk")


class Trips:
    """Counts operations on files. Files that are read together are read at the same time, so they count once."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self._is_inside = False
        for name in OPERATIONS:
            patch.setattr(LocalFiles, name, self._counting(name, getattr(LocalFiles, name)))

    def _counting(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(files: LocalFiles, *arguments: Any, **options: Any) -> Any:
            if self._is_inside:
                return original(files, *arguments, **options)
            self._is_inside = True
            try:
                self.made.append(f"{name} {arguments[0] if arguments else ''}")
                return original(files, *arguments, **options)
            finally:
                self._is_inside = False

        return call


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An application whose store has three versions of a prompt, a dataset, and a run that has ended."""

    world: World
    trips: Trips
    run_id: str
    sha256: str
    moment: list[float]

    def trips_of(self, method: str, path: str, *, body: Any = None) -> list[str]:
        """The operations of one request, which succeeds."""
        self.trips.made.clear()
        answer = self.world.client.request(method, path.replace("RUN", self.run_id), json=body)
        assert answer.is_success, answer.text
        return list(self.trips.made)

    def completion(self, ref: str | None) -> list[str]:
        return self.trips_of("POST", "/v1/completions", body={**COMPLETION, "prompt_ref": ref})


COMPLETION = {"model": "demo", "prompt": "x", "max_tokens": 1}


@pytest.fixture
def scene(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Scene:
    world = open_world(index="off")
    world.services = replace(world.services, queue=cast(RunQueue, MemoryQueue()))
    world.client.app.state.services = world.services  # type: ignore[attr-defined]
    store, moment = world.services.prompts, [0.0]
    store._references._now = lambda: moment[0]
    for seed in range(3):
        tensors = {"soft": np.full((2, 5), seed, np.float32)}
        manifest, _ = store.create("qa", prompt=make_prompt("soft", tensors=tensors, base=DEMO))
    store.set_alias("qa", alias="live", version=2)
    world.services.datasets.create("pairs", format="jsonl", stream=io.BytesIO(b'{"input":"a","target":"b"}\n' * 3))
    record = world.services.runs.create("tune", spec={"model": "demo"})
    writer = work_on(world, record.id)
    for step in range(2):
        writer.emit("metric", {"step": step, "loss": 1.0})
        writer.flush()
    writer.put_output("a.json", b"{}")
    writer.finish("succeeded")
    return Scene(world=world, trips=Trips(monkeypatch), run_id=record.id, sha256=manifest.sha256, moment=moment)


@pytest.mark.parametrize(
    ("ref", "first", "later"),
    [(None, 0, 0), ("qa@1", 1, 0), ("HASH", 2, 0), ("qa", 1, 1), ("qa@live", 1, 1)],
)
def test_naming_a_prompt(scene: Scene, ref: str | None, first: int, later: int) -> None:
    """A version by number or hash is cached for a second. A name and an alias may lead elsewhere, so they are read."""
    named = scene.sha256 if ref == "HASH" else ref
    assert len(scene.completion(named)) == first
    assert [len(scene.completion(named)) for _ in range(2)] == [later, later]
    scene.moment[0] += 1.0
    assert len(scene.completion(named)) == (0 if ref is None else 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}),
        ("/v1/activations", {"model": "demo", "inputs": ["x"], "sites": ["resid_post"], "layers": [1]}),
        (
            "/v1/trajectories",
            {"model": "demo", "inputs": ["x"], "sites": ["resid_post"], "layers": [1], "max_tokens": 1},
        ),
    ],
)
def test_other_requests_to_the_model_name_a_prompt_in_the_same_manner(scene: Scene, path: str, body: Any) -> None:
    for ref, expected in (("qa@1", [1, 0, 0]), ("qa", [1, 1, 1])):
        found = [scene.trips_of("POST", path, body={**body, "prompt_ref": ref}) for _ in range(3)]
        assert [len(made) for made in found] == expected, found


@pytest.mark.parametrize(
    ("path", "n_trips"),
    [
        ("/health", 0),
        ("/v1/models/demo", 0),
        # Of each prompt: its versions, one manifest for each of them, its aliases.
        ("/v1/prompts", 7),
        ("/v1/prompts/qa", 1),
        ("/v1/prompts/qa/versions", 4),
        ("/v1/prompts/qa/versions/1", 1),
        ("/v1/prompts/qa/versions/1/content", 3),
        ("/v1/datasets", 2),
        ("/v1/datasets/pairs", 2),
        # Records of all runs of a page, hints, chunks, checkpoints: of many runs as of one.
        ("/v1/runs", 5),
        ("/v1/maps", 5),
        # The same without the listing, and the outputs and what expired of them.
        ("/v1/runs/RUN", 8),
        ("/v1/runs/RUN/events", 9),
        ("/v1/runs/RUN/metrics", 3),
        ("/v1/runs/RUN/artifacts", 3),
        ("/v1/runs/RUN/artifacts/a.json", 3),
    ],
)
def test_reads(scene: Scene, path: str, n_trips: int) -> None:
    made = scene.trips_of("GET", path)
    assert len(made) == n_trips, made


def test_a_page_of_runs_costs_as_much_as_one_run(scene: Scene) -> None:
    for _ in range(10):
        record = scene.world.services.runs.create("tune", spec={})
        work_on(scene.world, record.id).finish("failed")
    assert len(scene.trips_of("GET", "/v1/runs?limit=20")) == 5


def test_a_version_that_this_service_deletes_is_gone_at_once(scene: Scene) -> None:
    assert scene.completion("qa@1") != []
    assert scene.completion("qa@1") == []
    assert scene.world.client.delete("/v1/prompts/qa/versions/1").status_code == 204
    answer = scene.world.client.post("/v1/completions", json={**COMPLETION, "prompt_ref": "qa@1"})
    assert answer.status_code == 404, answer.text


def test_a_version_that_another_service_deletes_is_gone_after_a_second(scene: Scene) -> None:
    body = {**COMPLETION, "prompt_ref": "qa@1"}
    http = scene.world.client
    assert http.post("/v1/completions", json=body).status_code == 200
    PromptStore(ArtifactStore(scene.world.services.settings.home)).delete("qa", version=1)
    scene.moment[0] += 0.9
    assert http.post("/v1/completions", json=body).status_code == 200
    scene.moment[0] += 0.1
    assert http.post("/v1/completions", json=body).status_code == 404
