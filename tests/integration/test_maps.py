"""Maps through a whole service: tuned prompts, made by its worker, drawn, and new points placed on them."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save

from service.queueing.embedded_redis import find_server
from service.settings import default_model_path
from tests.integration.running import Service, command_of, is_alive, running_service, wait_until
from tests.integration.test_runs import descendants_of

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

TUNE = {
    "model": "demo",
    "dataset": "demo-qa",
    "method": {"kind": "soft", "n_virtual": 3},
    "priors": [{"kind": "vocabulary"}],
    "optimizer": {"steps": 3, "batch_size": 2},
    "eval": {"n": 2, "metrics": ["exact_match"], "samples": 100},
    "snapshots": 2,
    "name": "asked",
}
SOURCES: list[dict[str, Any]] = [
    {"dataset": "demo-qa", "split": "test", "n": 20, "name": "questions"},
    {"prompts": ["asked"], "snapshots": True, "name": "tuned"},
    {"prior": {"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}, "n": 10, "name": "prior"},
    {"trajectories": {"inputs": ["Who has the clock?"], "max_tokens": 4}, "name": "way"},
    {"embeddings": "vocabulary", "n": 15, "name": "tokens"},
]
LAYERS = [0, 3]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    model = default_model_path(cwd=Path.cwd())
    with running_service(tmp_path, models=f"demo={model}", WORKERS="1", DEVICE="cpu") as started:
        started.wait_until_ready()
        yield started


def finished(http: httpx.Client, service: Service, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A run that has succeeded."""
    begun = http.post("/v1/runs", json={"kind": kind, "spec": spec})
    assert begun.status_code == 202, begun.text
    run: dict[str, Any] = {}

    def ended() -> bool:
        time.sleep(0.3)
        run.update(http.get(begun.headers["Location"]).json())
        return run["status"] not in ("queued", "running")

    wait_until(ended, why=service.log.read_text)
    assert run["status"] == "succeeded", (run, service.log.read_text())
    return run


def test_prompts_priors_texts_and_ways_on_one_map(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=120) as http:
        tuned = finished(http, service, "tune", TUNE)
        made = finished(http, service, "map", {"model": "demo", "layers": LAYERS, "sources": SOURCES})
        assert 0 < made["metrics"]["3/trustworthiness"] <= 1
        (row,) = http.get("/v1/maps").json()["data"]
        assert row["id"] == made["id"]
        whole = http.get(f"/v1/maps/{row['id']}").json()
        _assert_all_sources(whole, ref=tuned["prompts"][0])
        _assert_new_points_lie_there(http, whole)
        _assert_rows_are_projected(http, whole)
        _assert_placed_beside(http, service)
        everyone = descendants_of(service.pid)
        assert any("placement_process" in " ".join(command_of(pid)) for pid in everyone)
        assert service.stop() == 0
        wait_until(lambda: not any(is_alive(pid) for pid in everyone))


def _assert_all_sources(whole: dict[str, Any], *, ref: str) -> None:
    points = list(zip(*(whole[name] for name in ("source", "layer", "role", "group")), strict=True))
    assert {source for source, *_ in points} == {source["name"] for source in SOURCES}
    tuned = [(layer, role) for source, layer, role, group in points if source == "tuned" and group == f"{ref} 0"]
    assert [role for layer, role in tuned if layer == 0] == ["draw", "snapshot", "snapshot", "posterior"]
    assert {layer for layer, _ in tuned} == set(LAYERS)
    assert {layer for source, layer, *_ in points if source == "tokens"} == {0}
    assert [quality["layer"] for quality in whole["quality"]] == LAYERS


def _assert_new_points_lie_there(http: httpx.Client, whole: dict[str, Any]) -> None:
    """The map's own points, placed once more, lie where they are."""
    sources = [source for source in SOURCES if "prior" not in source]
    placed = http.post(f"/v1/maps/{whole['id']}/project", json={"sources": sources})
    assert placed.status_code == 200, placed.text
    kept = [i for i, source in enumerate(whole["source"]) if source != "prior"]
    for axis in ("x", "y"):
        np.testing.assert_allclose(placed.json()[axis], np.array(whole[axis])[kept], atol=1e-3)
    tensors = http.get(
        f"/v1/maps/{whole['id']}", params={"layer": 3}, headers={"Accept": "application/vnd.safetensors"}
    )
    assert load(tensors.content)["x"].tolist() == pytest.approx(
        [x for x, layer in zip(whole["x"], whole["layer"], strict=True) if layer == 3]
    )


def _assert_rows_are_projected(http: httpx.Client, whole: dict[str, Any]) -> None:
    text = "Who has the clock?"
    source = {"texts": [text], "per": "token"}
    placed = http.post(f"/v1/maps/{whole['id']}/project", json={"sources": [source], "layers": [3]}).json()
    asked = {"model": "demo", "inputs": [text], "sites": ["resid_pre"], "layers": [3]}
    answer = http.post("/v1/activations", json={**asked, "reduce": {"project": whole["id"]}})
    np.testing.assert_allclose(load(answer.content)["resid_pre.3"][:, 0], placed["x"], atol=1e-3)


def _assert_placed_beside(http: httpx.Client, service: Service) -> None:
    """t-SNE places in a process beside the API's."""
    source = {"dataset": "demo-qa", "n": 40, "split": "test"}
    made = finished(http, service, "map", {"model": "demo", "layers": [2], "sources": [source], "method": "tsne"})
    vectors = io.BytesIO(save({"vectors": np.zeros((2, 128), np.float32)}))
    files: dict[str, Any] = {
        "request": (None, json.dumps({"sources": [{"texts": ["Who has the clock?"]}]})),
        "vectors": vectors,
    }
    placed = http.post(f"/v1/maps/{made['id']}/project", files=files)
    assert placed.status_code == 200, placed.text
    assert placed.json()["source"] == ["vectors", "vectors", "texts"]
    refused = http.post(
        "/v1/activations",
        json={"model": "demo", "inputs": ["a"], "sites": ["resid_pre"], "reduce": {"project": made["id"]}},
    )
    assert refused.status_code == 422
