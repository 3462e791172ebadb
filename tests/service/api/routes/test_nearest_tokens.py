from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from service.engine.requests import Capture, Failed, Lens, Nearest
from service.errors import InvalidRequest
from service.hosting.ipc.messages import EstimateCost, Finished, Submit, Update
from service.store.prompts.manifests import Provenance
from service.store.prompts.native_format import make_prompt
from tests.service.api.conftest import DEMO, OpenWorld, World, tensors

TOKENS = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 2], [0, 3, 0, 0, 0], [9, 0, 0, 0, 0]], np.float32)
"""Token embeddings of the scripted engine; their nearest others are at distances 1, 1, sqrt(10) and sqrt(82)."""

TEXTS = {"0": " a", "1": " b", "2": " c", "3": "<d>"}


class TokenEngine:
    """Answers captures at ``embed`` as the engine does, over four tokens."""

    def __init__(self, *, has_lens: bool = True) -> None:
        self.has_lens = has_lens
        self.n_asked: list[int] = []

    def __call__(self, message: Submit | EstimateCost) -> Sequence[Update]:
        assert isinstance(message, Submit)
        request = message.request
        assert isinstance(request, Capture)
        assert request.capture.sites == ("embed",)
        (ids,) = request.inputs
        assert isinstance(ids, tuple)
        self.n_asked.append(len(ids))
        states = self._given(message, n=len(ids)) if request.interventions else TOKENS[np.array(ids, np.int64)]
        how = request.capture.reduce
        if isinstance(how, Lens):
            if not self.has_lens:
                return [Failed(request_id=request.request_id, error=InvalidRequest("no lens"))]
            return self._answer(
                np.argsort(-states, 1)[:, : how.k], np.full((len(ids), how.k), -0.5), "lens", "logprobs"
            )
        assert isinstance(how, Nearest)
        distances = np.linalg.norm(states[:, None] - TOKENS, axis=2)
        order = np.argsort(distances, 1)[:, : how.k]
        return self._answer(order, np.take_along_axis(distances, order, 1), "nearest", "distances")

    def _given(self, message: Submit, *, n: int) -> Any:
        (put,) = message.request.interventions
        assert (put.site, put.op, put.positions) == ("embed", "set", tuple(range(n)))
        return load(message.tensors)[str(message.values[0])]

    def _answer(self, ids: Any, scores: Any, name: str, kind: str) -> Sequence[Update]:
        arrays = {f"embed.{name}_ids": ids.astype(np.int64), f"embed.{name}_{kind}": scores.astype(np.float32)}
        header = {"tokens": TEXTS, "vocabulary": {"n_tokens": 4, "mean_norm": 3.75}}
        return [Finished(result=tensors(arrays, header))]


def upload(world: World, values: dict[str, Any], **header: Any) -> None:
    data = save(values, metadata={"promptatlas": json.dumps({"kind": "soft", "base": "demo", **header})})
    answer = world.client.post(
        "/v1/prompts?name=qa", content=data, headers={"Content-Type": "application/vnd.safetensors"}
    )
    assert answer.status_code == 201, answer.text


def soft(*rows: Sequence[float]) -> dict[str, Any]:
    return {"soft": np.array(rows, np.float32)}


NEAR_A = (0, 0, 0, 0, 1.25)
FAR = (0, 0, 9, 0, 0)


@pytest.fixture
def asked(open_world: OpenWorld) -> World:
    return open_world(script=TokenEngine())


def test_each_vector_has_its_nearest_tokens_and_what_it_reads_as(asked: World) -> None:
    upload(asked, soft(NEAR_A, FAR))
    found = asked.client.get("/v1/prompts/qa/versions/1/nearest?k=2").json()
    assert (found["name"], found["version"], found["metric"]) == ("qa", 1, "euclidean")
    near, far = found["vectors"]
    assert near["nearest"] == [
        {"id": 0, "text": " a", "distance": 0.25},
        {"id": 1, "text": " b", "distance": 0.75},
    ]
    assert (near["tensor"], near["index"], near["norm"], near["own_radius"]) == ("soft", 0, 1.25, 1.0)
    assert [token["id"] for token in near["lens"]] == [4, 0]
    assert far["nearest"][0]["id"] == 0
    assert far["nearest"][0]["distance"] == pytest.approx(82**0.5)
    assert far["moved"] is None


def test_measures_of_collapse_by_hand(asked: World) -> None:
    upload(asked, soft(NEAR_A, FAR))
    measures = asked.client.get("/v1/prompts/qa/versions/1/nearest").json()["measures"]["soft"]
    assert measures["share_within_radius"] == 0.5
    assert measures["nearest_distance"] == pytest.approx((0.25 + 82**0.5) / 2)
    assert measures["norm_ratio"] == pytest.approx((1.25 + 9) / 2 / 3.75)
    assert measures["mean_pairwise_distance"] == pytest.approx((1.25**2 + 81) ** 0.5)
    assert set(measures) == {
        "effective_rank",
        "participation_ratio",
        "mean_pairwise_distance",
        "norm_ratio",
        "nearest_distance",
        "share_within_radius",
    }


def test_layers_of_a_deep_prompt_come_in_order_and_apart(asked: World) -> None:
    rows = {"deep.2": np.array([NEAR_A], np.float32), "deep.0": np.array([FAR], np.float32)}
    upload(asked, rows, kind="deep", where="local")
    found = asked.client.get("/v1/prompts/qa/versions/1/nearest").json()
    assert [(item["tensor"], item["index"]) for item in found["vectors"]] == [("deep.0", 0), ("deep.2", 0)]
    assert found["measures"]["deep.2"]["share_within_radius"] == 1
    assert found["measures"]["deep.0"]["share_within_radius"] == 0
    assert "mean_pairwise_distance" not in found["measures"]["deep.0"]  # of one vector


def test_a_draw_that_a_run_kept_tells_how_far_the_vectors_moved(asked: World) -> None:
    runs = asked.services.runs
    run = runs.create("tune", spec={})
    prompt = make_prompt("soft", tensors=soft(NEAR_A, FAR), base=DEMO)
    manifest, _ = asked.services.prompts.create("qa", prompt=prompt, provenance=Provenance(run_id=run.id))
    writer = runs.claim(run.id, worker="w")
    writer.put_output(f"draws/{manifest.ref}.safetensors", save(soft((0, 0, 0, 0, 0.25), FAR)))
    found = asked.client.get("/v1/prompts/qa/versions/1/nearest").json()
    assert [item["moved"] for item in found["vectors"]] == [1.0, 0.0]
    assert found["measures"]["soft"]["displacement"] == 0.5


def test_a_model_without_a_lens_has_neighbours_all_the_same(open_world: OpenWorld) -> None:
    world = open_world(script=TokenEngine(has_lens=False))
    upload(world, soft(NEAR_A))
    (vector,) = world.client.get("/v1/prompts/qa/versions/1/nearest").json()["vectors"]
    assert vector["lens"] is None
    assert vector["nearest"][0]["id"] == 0


def test_many_vectors_are_asked_about_in_pieces_that_fit_the_context(open_world: OpenWorld) -> None:
    engine = TokenEngine()
    world = open_world(script=engine)
    rng = np.random.default_rng(0)
    n = DEMO.n_positions // 2 + 7
    upload(world, {f"deep.{i}": rng.normal(size=(n, 5)).astype(np.float32) for i in (0, 1)}, kind="deep", where="local")
    found = world.client.get("/v1/prompts/qa/versions/1/nearest").json()
    assert len(found["vectors"]) == 2 * n
    assert max(engine.n_asked) == DEMO.n_positions
    expected = np.linalg.norm(load(world.client.get("/v1/prompts/qa/versions/1/content").content)["deep.1"], axis=1)
    np.testing.assert_allclose([item["norm"] for item in found["vectors"][n:]], expected, rtol=1e-6)


def test_what_cannot_be_answered(asked: World) -> None:
    assert asked.client.get("/v1/prompts/qa/versions/1/nearest").status_code == 404
    prefix = {"prefix": np.zeros((3, 2, 1, 2, 7), np.float32)}
    upload(asked, prefix, kind="prefix")
    refused = asked.client.get("/v1/prompts/qa/versions/1/nearest")
    assert refused.status_code == 422
    assert "keys and values" in refused.json()["detail"]
    assert asked.client.get("/v1/prompts/qa/versions/1/nearest?k=0").status_code == 422
