"""``POST /v1/activations/divergence`` with a scripted engine: which messages it sends, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.engine.requests import Capture
from service.hosting.ipc.messages import CompareStates, EstimateCost, Finished, Submit, Update
from tests.service.api.conftest import CARD, OpenWorld, World, tensors

URL = "/v1/activations/divergence"
STATES = np.arange(1, 16, dtype=np.float32).reshape(3, 5)
ROWS = {
    "row_offsets": np.array([0, 1, 3]),
    "positions": np.array([0, 0, 1], np.int32),
    "token_ids": np.array([4, 5, 6]),
}


def states_of(values: Any) -> Any:
    def script(message: Submit | EstimateCost) -> Sequence[Update]:
        assert isinstance(message, Submit)
        assert isinstance(message.request, Capture)
        return [Finished(result=tensors({"resid_post.1": values, **ROWS}, message.metadata))]

    return script


def test_states_of_both_prompts_are_compared_in_blocks(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.engine_reads.lens_divergence._VALUES_AT_ONCE", 2 * CARD["vocab_size"])
    values = STATES.copy()
    values[1] = 0
    world = open_world(script=states_of(values))
    answer = world.client.post(URL, json={"model": "demo", "inputs": ["a", "bc"], "layers": [1]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["kl"] == {"resid_post.1": [15.0, None, 65.0]}
    assert (body["row_offsets"], body["positions"], body["token_ids"]) == ([0, 1, 3], [0, 0, 1], [4, 5, 6])
    assert (body["prompt"], body["against"]) == (None, None)
    assert len(world.end.submitted) == 2
    sizes = [len(m.request.states) for m in world.end.received if isinstance(m, CompareStates)]
    assert sizes == [2, 1]


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 5), (3,)])
def test_states_without_one_vector_per_token_are_refused(open_world: OpenWorld, shape: tuple[int, ...]) -> None:
    world = open_world(script=states_of(np.ones(shape, np.float32)))
    answer = world.client.post(URL, json={"model": "demo", "inputs": ["a"]})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["sites"])


@pytest.mark.parametrize(
    ("change", "status", "loc"),
    [
        ({"against": "nobody"}, 404, ["against"]),
        ({"prompt_ref": "nobody"}, 404, ["prompt_ref"]),
        ({"model": "nothing"}, 404, ["model"]),
        ({"inputs": []}, 422, ["inputs"]),
        ({"dtype": "float16"}, 422, ["dtype"]),
    ],
)
def test_faults_have_their_field(world: World, change: dict[str, Any], status: int, loc: list[str]) -> None:
    answer = world.client.post(URL, json={"model": "demo", "inputs": ["a"], **change})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (status, loc)
    assert world.end.submitted == []


def test_an_answer_over_the_limit_of_json_is_refused(open_world: OpenWorld) -> None:
    world = open_world(script=states_of(np.full((200, 5), 1 / 3, np.float32)), max_json_bytes=1024)
    answer = world.client.post(URL, json={"model": "demo", "inputs": ["a"]})
    assert answer.status_code == 413
    assert "fewer inputs" in answer.json()["detail"]
