from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from service.store.artifacts.tensor_codec import decode
from service.store.runs.outputs import Outputs
from tests.service.api.conftest import OpenWorld
from tests.service.api.map_world import open_small_world, put_map
from tests.service.api.routes.test_maps import TEXTS, MapWorld
from tests.workers.maps.small_map import D_MODEL


@pytest.fixture
def map_world(open_world: OpenWorld, tmp_path: Path) -> MapWorld:
    return open_small_world(open_world, tmp_path)


def test_neighbours_are_those_of_the_original_space(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(
        world, run, layers=[0, 2], sources=[{"texts": TEXTS}, {"dataset": "words", "n": 20, "per": "token"}]
    )
    points = world.client.get(f"/v1/maps/{map_id}", params={"layer": 2}).json()
    file = Outputs(run.artifacts, run_id=map_id).read("vectors.2.safetensors")
    vectors = decode(file).tensors["vectors"].astype(np.float64)
    assert vectors.shape == (len(points["x"]), D_MODEL)
    for metric in ("euclidean", "cosine"):
        query = {"layer": 2, "point": 3, "k": 7, "metric": metric}
        answer = world.client.get(f"/v1/maps/{map_id}/neighbors", params=query)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        search = NearestNeighbors(n_neighbors=8, metric=metric, algorithm="brute").fit(vectors)
        distances, _ = search.kneighbors(vectors[3:4])
        np.testing.assert_allclose([0, *found["distance"]], distances[0], atol=1e-7)
        for name in ("x", "y", "text", "token", "source", "layer"):
            assert found[name] == [points[name][i] for i in found["index"]]
        assert (found["map"], found["point"], found["metric"]) == (map_id, 3, metric)


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ({"point": 0}, ["query", "layer"]),
        ({"point": 0, "layer": 1}, ["query", "layer"]),
        ({"point": 5, "layer": 2}, ["query", "point"]),
        ({"point": -1, "layer": 2}, ["query", "point"]),
        ({"point": 0, "layer": 2, "k": 101}, ["query", "k"]),
        ({"point": 0, "layer": 2, "metric": "manhattan"}, ["query", "metric"]),
    ],
)
def test_neighbours_that_do_not_exist_are_refused(map_world: MapWorld, query: dict[str, Any], loc: list[str]) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[0, 2], sources=[{"texts": TEXTS}])
    answer = world.client.get(f"/v1/maps/{map_id}/neighbors", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == loc


def test_a_map_of_one_layer_needs_no_layer_and_one_without_vectors_has_no_neighbours(map_world: MapWorld) -> None:
    world, run = map_world
    kept = put_map(world, run, layers=[2], sources=[{"texts": TEXTS}])
    assert len(world.client.get(f"/v1/maps/{kept}/neighbors", params={"point": 0}).json()["index"]) == 4
    bare = put_map(world, run, layers=[2], sources=[{"texts": TEXTS}], keep_vectors=False)
    answer = world.client.get(f"/v1/maps/{bare}/neighbors", params={"point": 0})
    assert answer.status_code == 404
    assert "keep_vectors" in answer.json()["detail"]
    world.client.delete(f"/v1/maps/{kept}")
    assert world.client.get(f"/v1/maps/{kept}/neighbors", params={"point": 0}).status_code == 404
    assert Outputs(run.artifacts, run_id=kept).all() == []


def test_the_default_layer_is_the_one_whose_tasks_separate_best(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[0, 1, 2], sources=[{"dataset": "words", "n": 20}, {"texts": TEXTS}])
    whole = world.client.get(f"/v1/maps/{map_id}").json()
    expected = {}
    for layer in (0, 1, 2):
        vectors = decode(Outputs(run.artifacts, run_id=map_id).read(f"vectors.{layer}.safetensors")).tensors["vectors"]
        tasks = [task for task, own in zip(whole["task"], whole["layer"], strict=True) if own == layer]
        labelled = [i for i, task in enumerate(tasks) if task is not None]
        expected[layer] = silhouette_score(vectors[labelled], [tasks[i] for i in labelled])
    assert {each["layer"]: each["task_silhouette"] for each in whole["quality"]} == pytest.approx(expected, abs=1e-5)
    (row,) = world.client.get("/v1/maps").json()["data"]
    assert row["default_layer"] == whole["default_layer"] == max(expected, key=lambda layer: expected[layer])
    without = put_map(world, run, layers=[1, 2], sources=[{"texts": TEXTS}])
    assert world.client.get(f"/v1/maps/{without}").json()["default_layer"] == 1
