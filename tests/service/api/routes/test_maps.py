from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from service.store.artifacts.tensor_codec import decode
from service.store.maps.points import Points
from service.store.runs.outputs import Outputs
from tests.service.api.conftest import OpenWorld, World
from tests.service.api.map_world import open_small_world, put_map
from tests.service.api.requests.test_auth import KEYS, bearer
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.maps.small_map import put_prompt

TEXTS = ["t5 t6 t7", "t8 t9", "t10 t11 t12 t13", "t14", "t15 t16"]
TENSORS = {"Accept": "application/vnd.safetensors"}

MapWorld = tuple[World, FakeRun]


@pytest.fixture
def map_world(open_world: OpenWorld, tmp_path: Path) -> MapWorld:
    return open_small_world(open_world, tmp_path)


def columns(answer: Any) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return {
        name: body[name] for name in ("source", "role", "text", "token", "position", "layer", "group", "task", "prompt")
    }


def places(answer: Any) -> np.ndarray:
    return np.stack([answer.json()["x"], answer.json()["y"]], axis=1)


def project(world: World, map_id: str, **body: Any) -> Any:
    return world.client.post(f"/v1/maps/{map_id}/project", json=body)


def test_a_map_is_listed_shown_and_deleted(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[0, 2], sources=[{"texts": TEXTS}])
    (row,) = world.client.get("/v1/maps").json()["data"]
    assert (row["id"], row["name"], row["method"], row["layers"]) == (map_id, "a map", "pca", [0, 2])
    assert (row["sources"], row["n_points"], row["model"]) == (["texts"], 10, "small")
    whole = world.client.get(f"/v1/maps/{map_id}").json()
    assert whole["layer"] == [0] * 5 + [2] * 5
    assert whole["text"] == TEXTS * 2
    assert whole["token"] == [None] * 10
    assert len(whole["quality"]) == 2
    assert whole["spec"]["sources"][0]["name"] == "texts"
    one = world.client.get(f"/v1/maps/{map_id}", params={"layer": 2}).json()
    assert one["x"] == whole["x"][5:]
    assert world.client.delete(f"/v1/maps/{map_id}").status_code == 204
    assert world.client.get("/v1/maps").json()["data"] == []
    for answer in (world.client.get(f"/v1/maps/{map_id}"), world.client.delete(f"/v1/maps/{map_id}")):
        assert answer.status_code == 404
    assert world.client.get(f"/v1/runs/{map_id}").json()["artifacts"] == []


def test_points_come_as_tensors_too(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[1], sources=[{"dataset": "words", "n": 5, "per": "token"}])
    lists = world.client.get(f"/v1/maps/{map_id}").json()
    answer = world.client.get(f"/v1/maps/{map_id}", headers=TENSORS)
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    file = decode(answer.content)
    found = Points.from_tensors(file.tensors, label="map").lists()
    assert found == {name: lists[name] for name in found}
    assert file.metadata["id"] == map_id
    assert file.metadata["n_points"] == len(lists["x"])
    # As docs/maps.md has it, without our own reader.
    codes, data, offsets = (file.tensors[name] for name in ("token", "token.bytes", "token.offsets"))
    first = bytes(data[offsets[codes[0]] : offsets[codes[0] + 1]]).decode()
    assert first == lists["token"][0]


def test_pages_of_maps_pass_over_deleted_ones(map_world: MapWorld) -> None:
    world, run = map_world
    ids = [put_map(world, run, sources=[{"texts": TEXTS}]) for _ in range(4)]
    world.client.delete(f"/v1/maps/{ids[2]}")
    first = world.client.get("/v1/maps", params={"limit": 2}).json()
    assert [row["id"] for row in first["data"]] == [ids[3], ids[1]]
    assert first["has_more"]
    second = world.client.get("/v1/maps", params={"limit": 2, "after": first["next"]}).json()
    assert [row["id"] for row in second["data"]] == [ids[0]]
    assert not second["has_more"]


def test_a_map_that_is_not_there_yet_is_not_found(map_world: MapWorld) -> None:
    world, _ = map_world
    queued = world.services.runs.create("map", spec={}).id
    other = world.services.runs.create("tune", spec={}).id
    assert "queued" in world.client.get(f"/v1/maps/{queued}").json()["detail"]
    for map_id in (queued, other, "run-nothing", "…"):
        assert world.client.get(f"/v1/maps/{map_id}").status_code == 404
        assert project(world, map_id, sources=[{"texts": ["t5"]}]).status_code == 404


def test_a_layer_that_the_map_lacks_is_invalid(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[1], sources=[{"texts": TEXTS}])
    assert world.client.get(f"/v1/maps/{map_id}", params={"layer": 2}).status_code == 422
    refused = project(world, map_id, sources=[{"texts": TEXTS}], layers=[1, 0])
    assert refused.json()["errors"][0]["loc"] == ["layers", 1]


def test_the_maps_own_sources_are_placed_where_the_map_has_them(map_world: MapWorld) -> None:
    world, run = map_world
    put_prompt(run, "soft")
    put_prompt(run, "carried", kind="deep", layers=(1,), where="carried")
    put_prompt(run, "local", kind="deep", layers=(1,), where="local")
    sources: list[dict[str, Any]] = [
        {"dataset": "words", "split": "test", "n": 6},
        {"dataset": "words", "n": 3, "per": "token", "prompt_ref": "soft", "include_target": False},
        {"texts": TEXTS, "prompt_ref": {"mix": [{"ref": "soft@1", "weight": 2.0}]}},
        {"prompts": ["soft", "carried", "local"], "snapshots": True},
        {"trajectories": {"inputs": ["t5 t6", "t7"], "max_tokens": 4}},
        {"trajectories": {"dataset": "words", "n": 2, "max_tokens": 3, "prompt_ref": "local"}, "name": "ways"},
        {"embeddings": "vocabulary", "n": 11, "seed": 3},
    ]
    map_id = put_map(world, run, layers=[0, 1, 2], sources=sources)
    own = world.client.get(f"/v1/maps/{map_id}")
    again = project(world, map_id, sources=sources)
    assert columns(again) == columns(own)
    np.testing.assert_allclose(places(again), places(own), atol=1e-4)
    some = project(world, map_id, sources=[{"texts": ["t8 t9"], "name": "new"}], layers=[-1])
    assert columns(some)["source"] == ["new"]
    assert columns(some)["layer"] == [2]


def test_added_tokens_are_no_points(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[0], sources=[{"texts": TEXTS}])
    facts = json.loads(run.outputs["map.json"])
    # As if the tokenizer put one token in front of every text and one behind it.
    Outputs(run.artifacts, run_id=map_id).put("map.json", json.dumps({**facts, "added": [1, 1]}).encode())
    found = columns(project(world, map_id, sources=[{"texts": ["t5 t6 t7 t8"], "per": "token"}]))
    assert found["position"] == [1, 2]
    inputs = [f"t{i} t{i + 2} t{i + 5}" for i in range(5, 12)]
    ways = project(world, map_id, sources=[{"trajectories": {"inputs": inputs, "max_tokens": 2}}])
    # The middle one of the input, then what was generated.
    assert set(columns(ways)["position"]) == {1, 3, 4}


def form(**vectors: np.ndarray) -> dict[str, Any]:
    return {"request": (None, json.dumps({"layers": [1]}), "application/json"), "vectors": ("v", save(vectors))}


def test_vectors_are_placed_by_the_basis(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[0, 1], sources=[{"texts": TEXTS}])
    basis = decode(run.outputs["basis.1.safetensors"]).tensors
    given = np.random.default_rng(0).normal(size=(3, 56)).astype(np.float32)
    answer = world.client.post(f"/v1/maps/{map_id}/project", files=form(vectors=given))
    np.testing.assert_allclose(places(answer), (given - basis["mean"]) @ basis["components"].T, atol=1e-5)
    assert columns(answer)["role"] == ["placed"] * 3
    as_tensors = world.client.post(f"/v1/maps/{map_id}/project", files=form(vectors=given), headers=TENSORS)
    assert decode(as_tensors.content).tensors["x"].tolist() == pytest.approx(answer.json()["x"])


@pytest.mark.parametrize(
    "files",
    [
        form(vectors=np.zeros((2, 55), np.float32)),
        form(vectors=np.full((2, 56), np.nan, np.float32)),
        form(vectors=np.zeros((2, 56), np.int64)),
        form(others=np.zeros((2, 56), np.float32)),
        {**form(), "vectors": ("v", b"no tensors")},
    ],
)
def test_vectors_that_do_not_fit_are_refused(map_world: MapWorld, files: dict[str, Any]) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[0, 1], sources=[{"texts": TEXTS}])
    assert world.client.post(f"/v1/maps/{map_id}/project", files=files).status_code == 422


@pytest.mark.parametrize(
    ("sources", "loc"),
    [
        ([], ["sources"]),
        ([{"texts": ["t5"]}, {"prior": {"kind": "xavier"}}], ["sources", 1]),
        ([{"texts": ["t5 " * 200]}], ["sources", 0]),
        ([{"prompts": ["prefix"]}], ["sources", 0, "prompts", 0]),
        ([{"dataset": "words", "split": "test", "prompt_ref": "none"}], ["sources", 0, "prompt_ref"]),
    ],
)
def test_what_cannot_be_placed_is_refused_where_it_stands(
    map_world: MapWorld, sources: list[Any], loc: list[Any]
) -> None:
    world, run = map_world
    put_prompt(run, "prefix", kind="prefix")
    map_id = put_map(world, run, layers=[1], sources=[{"texts": TEXTS}])
    answer = project(world, map_id, sources=sources)
    assert answer.status_code in (404, 422)
    assert answer.json()["errors"][0]["loc"] == loc


@pytest.mark.parametrize(
    ("source", "locs"),
    [
        ({"dataset": "words", "n": -1}, [["sources", 0, "n"]]),
        ({"dataset": "words", "texts": ["t5"]}, [["sources", 0, "texts"]]),
        ({"trajectories": {"inputs": ["t5"], "max_tokens": 0}}, [["sources", 0, "trajectories", "max_tokens"]]),
        ({"nothing": 1}, [["sources", 0]]),
    ],
)
def test_a_source_is_refused_at_the_fields_of_its_kind(
    map_world: MapWorld, source: dict[str, Any], locs: list[list[Any]]
) -> None:
    world, run = map_world
    answer = project(world, put_map(world, run, layers=[1], sources=[{"texts": TEXTS}]), sources=[source])
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["errors"]] == locs


def test_other_weights_than_the_maps_place_nothing(map_world: MapWorld) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[1], sources=[{"texts": TEXTS}])
    state = world.engine.last_state()
    state.models["small"]["revision"] = "other"  # type: ignore[index]
    answer = project(world, map_id, sources=[{"texts": ["t5"]}])
    assert answer.status_code == 422
    assert "other weights" in answer.json()["detail"]


CAPTURE = {"model": "small", "inputs": ["t5 t6 t7"], "sites": ["resid_pre"]}


@pytest.mark.parametrize("layer", [1, -1])
def test_activations_are_projected_where_they_are_read(map_world: MapWorld, layer: int) -> None:
    world, run = map_world
    map_id = put_map(world, run, layers=[1, 2], sources=[{"texts": TEXTS}])
    index = layer % 3
    expected = project(world, map_id, sources=[{"texts": ["t5 t6 t7"], "per": "token"}], layers=[index])
    for url, more in (("/v1/activations", {}), ("/v1/trajectories", {"max_tokens": 1, "temperature": 0})):
        asked = {**CAPTURE, "layers": [layer], "reduce": {"project": map_id}, **more}
        answer = world.client.post(url, json=asked)
        assert answer.status_code == 200, answer.text
        rows = decode(answer.content).tensors[f"resid_pre.{index}"]
        np.testing.assert_allclose(rows[:3], places(expected), atol=1e-4)


def test_a_projection_must_be_clear_and_linear(map_world: MapWorld) -> None:
    world, run = map_world
    several = put_map(world, run, layers=[1, 2], sources=[{"texts": TEXTS}])
    for layers in ([0], [1, 2], "all"):
        answer = world.client.post(
            "/v1/activations", json={**CAPTURE, "layers": layers, "reduce": {"project": several}}
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["reduce", "project"]
    single = put_map(world, run, layers=[1], sources=[{"texts": TEXTS}])
    both = world.client.post("/v1/activations", json={**CAPTURE, "layers": [0, 2], "reduce": {"project": single}})
    assert decode(both.content).tensors["resid_pre.2"].shape == (3, 2)
    facts = json.loads(run.outputs["map.json"])
    Outputs(run.artifacts, run_id=single).put("map.json", json.dumps({**facts, "method": "umap"}).encode())
    answer = world.client.post("/v1/activations", json={**CAPTURE, "layers": [1], "reduce": {"project": single}})
    assert answer.status_code == 422
    assert "umap" in answer.json()["detail"]


def test_only_admins_delete_and_readers_place(open_world: OpenWorld) -> None:
    guarded = open_world(api_keys=KEYS)
    expected = {"ann": 403, "bob": 403, "eve": 404}
    for name, status in expected.items():
        assert guarded.client.delete("/v1/maps/run-1", headers=bearer(name)).status_code == status
    for name in expected:
        for answer in (
            guarded.client.get("/v1/maps/run-1", headers=bearer(name)),
            guarded.client.post("/v1/maps/run-1/project", json={}, headers=bearer(name)),
        ):
            assert answer.status_code == 404
    assert guarded.client.post("/v1/maps/run-1/project", json={}).status_code == 401


def test_the_application_loads_none_of_what_places_points() -> None:
    code = "import sys, service.app; print(*sorted({'torch','umap','numba','openTSNE','sklearn'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
