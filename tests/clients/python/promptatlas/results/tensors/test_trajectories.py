from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from promptatlas import AsyncClient, Client, Trajectories, errors

from tests.clients.python.promptatlas.fake_server import (
    METADATA,
    FakeServer,
    activation_tensors,
    tensor_bytes,
    tensors_reply,
)

INPUTS = [
    {"text": " kitchen.", "finish_reason": "stop", "n_input": 1, "n_generated": 2},
    {"text": " garden", "finish_reason": "length", "n_input": 2, "n_generated": 1},
]
TENSORS = {
    **activation_tensors(),
    "generated": np.array([False, True, False, False, True]),
    "logprobs": np.array([np.nan, -0.5, np.nan, np.nan, -1.25], np.float32),
}


def result(inputs: list[dict[str, Any]] = INPUTS) -> bytes:
    return tensor_bytes(TENSORS, metadata={**METADATA, "inputs": inputs})


@pytest.fixture
def trajectories(tmp_path: Path) -> Trajectories:
    path = tmp_path / "walks.safetensors"
    path.write_bytes(result())
    return Trajectories.open(path)


def test_each_trajectory_with_its_text_and_rows(trajectories: Trajectories) -> None:
    first, second = trajectories
    assert len(trajectories) == 2
    assert (first.text, first.finish_reason, first.n_input, first.n_generated) == (" kitchen.", "stop", 1, 2)
    assert second["resid_post", 3].tolist() == [[20, 21, 22], [30, 31, 32], [40, 41, 42]]
    assert second.generated is not None
    assert second.generated.tolist() == [False, False, True]
    assert second.logprobs is not None
    np.testing.assert_array_equal(second.logprobs, np.array([np.nan, np.nan, -1.25], np.float32))
    assert trajectories.input(-1).text == " garden"
    assert "garden" in repr(second)


def test_columns_over_all_rows(trajectories: Trajectories) -> None:
    assert trajectories.generated is not None
    assert trajectories.generated.tolist() == [False, True, False, False, True]
    assert trajectories.logprobs is not None
    assert np.isnan(trajectories.logprobs).tolist() == [True, False, True, True, False]
    assert sorted(trajectories.keys()) == ["attn_probs.3", "embed", "resid_post.3"]
    assert trajectories.metadata.inputs[1].text == " garden"


def test_frames_know_what_was_generated(trajectories: Trajectories) -> None:
    pytest.importorskip("pandas")
    frame = trajectories.pandas("embed")
    assert list(frame.columns)[:5] == ["input", "position", "token_id", "generated", "logprob"]
    assert frame[frame["generated"]]["embed.0"].tolist() == [-10, -40]
    assert trajectories.input(1).pandas("embed")["input"].tolist() == [1, 1, 1]


def test_the_client_sends_and_reads_them(client: Client, server: FakeServer) -> None:
    server.will(tensors_reply(result()))
    with client.trajectories.create(
        model="demo", inputs=["Ana is in the", (1, 2)], sites=["resid_post"], layers=[3], max_tokens=2, seed=0, n=1
    ) as walks:
        assert [walk.text for walk in walks] == [" kitchen.", " garden"]
        path = walks.path
    assert not path.exists()
    assert server.request.url.path == "/v1/trajectories"
    assert server.sent == {
        "model": "demo",
        "inputs": ["Ana is in the", [1, 2]],
        "sites": ["resid_post"],
        "layers": [3],
        "max_tokens": 2,
        "seed": 0,
        "n": 1,
    }


def test_metadata_must_fit_the_rows(client: Client, server: FakeServer) -> None:
    server.will(tensors_reply(result(INPUTS[:1])))
    with pytest.raises(errors.UnexpectedAnswerError, match="2 trajectories, got 1"):
        client.trajectories.create(model="demo", inputs=["a"], sites=["embed"])


def test_async_trajectories(async_client: AsyncClient, server: FakeServer) -> None:
    server.will(tensors_reply(result()))

    async def run() -> list[str]:
        with await async_client.trajectories.create(model="demo", inputs=["a"], sites=["embed"]) as walks:
            return [walk.text for walk in walks]

    assert anyio.run(run) == [" kitchen.", " garden"]
