"""Steps to a common loss, the best member, scores by name, and reading a run through a fake client."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from promptatlas import Curves
from promptatlas.types import MetricPoint
from safetensors.numpy import save_file

from demo.tour.clouds import Cloud, Clouds
from demo.tour.outcomes import Curve, Score, read_outcome
from tests.demo.tour.members import job, member, outcome


def test_the_common_loss_is_the_best_of_the_slowest_member() -> None:
    found = outcome()
    near, far = found.members
    assert found.common_loss == 0.6
    assert (found.steps_to_common(near), found.steps_to_common(far)) == (10, 20)


def test_a_member_without_a_curve_leaves_no_common_loss() -> None:
    near = member("near", losses=[8.0, 0.1], after=1.0)
    found = outcome(members=(near, type(near)(**{**vars(near), "curve": None})))
    assert found.common_loss is None
    assert found.steps_to_common(near) is None


def test_a_loss_that_is_never_reached_has_no_step() -> None:
    assert Curve(steps=np.array([0, 5]), losses=np.array([3.0, 2.0])).first_at(1.0) is None


def test_the_best_is_chosen_on_validation_not_on_test() -> None:
    better_on_test = member("far", losses=[8.0, 1.0], after=1.0)
    better_on_validation = member("near", losses=[8.0, 0.5], after=0.9)
    assert outcome(members=(better_on_test, better_on_validation)).best is better_on_validation


def test_scores_have_intervals_where_there_are_some() -> None:
    metrics = {"test/f1": 0.5, "test/f1_low": 0.4, "test/f1_high": 0.6, "bare/test/f1": 0.1}
    assert Score.find(metrics, "test/f1") == Score(value=0.5, low=0.4, high=0.6)
    assert Score.find(metrics, "bare/test/f1") == Score(value=0.1)
    assert Score.find(metrics, "test/loss") is None


DRAWN = np.array([[0.0, 0, 0], [0, 4, 0]], np.float32)
TUNED = np.array([[0.0, 3, 0], [0, 4, 4]], np.float32)
TOKENS = np.array([[0.0, 0, 0], [0, 0, 2]], np.float32)


class FakeRun:
    """A run of two members that writes its files on request."""

    id = "run-1"
    began = datetime(2026, 1, 1, tzinfo=timezone.utc)
    info = SimpleNamespace(started_at=began, ended_at=began + timedelta(seconds=7))

    def read(self, path: str) -> bytes:
        assert path == "members.json"
        named = [{"name": f"t-{i}", "prompt": f"t-{i}@4", "seed": 3, "lr": 0.01} for i in range(2)]
        return json.dumps([{**one, "status": "finished", "metrics": {"test/loss": 0.5}} for one in named]).encode()

    def metrics(self) -> Curves:
        losses = [(0, 8.0), (10, 0.25)]
        return Curves(
            [
                MetricPoint.model_validate({"step": step, "member": "t-0", "validation_loss": loss})
                for step, loss in losses
            ]
        )

    def download(self, path: str, *, to: Path) -> Path:
        assert path.startswith("draws/t-")
        assert path.endswith("@4.safetensors")
        save_file({"soft": DRAWN}, to)
        return to


class FakePrompts:
    def download(self, name: str, *, to: Path) -> Path:
        assert name.startswith("t-")
        save_file({"soft": TUNED}, to)
        return to


def test_a_run_is_read_member_by_member() -> None:
    client: Any = SimpleNamespace(prompts=FakePrompts())
    clouds = Clouds(client, card=SimpleNamespace(id="m", vocab_size=2, n_positions=2), texts=[])  # type: ignore[arg-type]
    clouds.keep("soft", Cloud.of(TOKENS))
    run: Any = FakeRun()
    found = read_outcome(client, run, job=job(), clouds=clouds)
    assert [one.prior for one in found.members] == ["near", "far"]
    assert found.seconds == 7
    first, second = found.members
    assert first.curve is not None
    assert first.curve.losses.tolist() == [8.0, 0.25]
    assert second.curve is None
    # Moved by 3 and 4; nearest tokens at 0 and 4 before, 3 and √(4² + 2²) after; tokens are 2 apart.
    assert first.distances is not None
    assert (first.distances.moved, first.distances.draw_to_token) == (1.75, 1.0)
    assert first.distances.to_token == pytest.approx((3 + 20**0.5) / 4)


def test_vectors_are_compared_at_their_layer() -> None:
    clouds = Clouds(FakeClient(), card=SimpleNamespace(id="m", vocab_size=7, n_positions=3), texts=["a", "b"])  # type: ignore[arg-type]
    assert clouds.at("soft").points[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert clouds.at("deep.5").points.tolist() == [[5, 5, 5], [5, 5, 6]]
    assert clouds.at("deep.5").unit == 1


class FakeClient:
    """Returns token ids as embeddings and the layer as states."""

    def __init__(self) -> None:
        self.activations = self

    def get(self, *, model: str, inputs: Any, sites: list[str], layers: Any) -> FakeCache:
        if sites == ["embed"]:
            assert all(len(ids) <= 3 for ids in inputs)
            points = [[float(i), 0, 0] for ids in inputs for i in ids]
            return FakeCache({"embed": np.array(points, np.float32)})
        assert (inputs, sites) == (["a", "b"], ["resid_pre"])
        (layer,) = layers
        states = np.full((2, 3), layer, np.float32)
        states[1, 2] += 1
        return FakeCache({("resid_pre", layer): states})


class FakeCache(dict[Any, npt.NDArray[np.float32]]):
    def __enter__(self) -> FakeCache:
        return self

    def __exit__(self, *_: object) -> None:
        pass
