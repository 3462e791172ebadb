from __future__ import annotations

import json

import numpy as np
import pytest

from service.errors import DamagedArtifact
from service.store.artifacts.tensor_codec import decode, encode
from service.store.maps.points import MAX_TEXT, Labels, Points, join_points, shown, task_of
from service.store.maps.store import MapFacts, chosen_tokens, site_of


def some_points(layer: int = 2, *, n_axes: int = 2) -> Points:
    labels = Labels(layer=layer)
    labels.add(2, source="a", role="state", text=["straße 🙂", None], token="x", positions=np.array([5, -1]))
    labels.add(1, source="b", role="draw", group="g", text=["straße 🙂"])
    return labels.points((np.arange(3 * n_axes).reshape(3, n_axes) / 3).astype(np.float32))


def test_columns_come_out_as_they_went_in() -> None:
    lists = some_points().lists()
    assert lists["text"] == ["straße 🙂", None, "straße 🙂"]
    assert lists["source"] == ["a", "a", "b"]
    assert lists["token"] == ["x", "x", None]
    assert lists["group"] == [None, None, "g"]
    assert lists["task"] == lists["prompt"] == [None] * 3
    assert lists["position"] == [5, -1, None]
    assert lists["layer"] == [2, 2, 2]
    assert lists["y"] == [pytest.approx(1 / 3), 1.0, pytest.approx(5 / 3)]


def test_numbers_have_the_digits_of_float32() -> None:
    text = json.dumps(some_points().lists()["y"])
    assert "0.333333343," in text
    assert np.float32(json.loads(text)[0]) == np.float32(1 / 3)


@pytest.mark.parametrize("n_axes", [2, 3])
def test_safetensors_hold_the_same(n_axes: int) -> None:
    points = some_points(n_axes=n_axes)
    again = Points.from_tensors(decode(encode(points.tensors())).tensors, label="map")
    assert again.lists() == points.lists()
    assert ("z" in again.lists()) == (n_axes == 3)


def test_a_text_is_kept_once() -> None:
    tensors = some_points().tensors()
    assert bytes(tensors["text.bytes"]).decode() == "straße 🙂"
    assert tensors["text.offsets"].tolist() == [0, len("straße 🙂".encode())]
    assert tensors["text"].tolist() == [0, -1, 0]


def test_points_are_joined_in_order() -> None:
    other = Labels(layer=4)
    other.add(1, source="b", role="state", text=["new"])
    joined = join_points([some_points(), other.points(np.zeros((1, 2), np.float32))]).lists()
    assert joined["source"] == ["a", "a", "b", "b"]
    assert joined["text"] == ["straße 🙂", None, "straße 🙂", "new"]
    assert joined["layer"] == [2, 2, 2, 4]


@pytest.mark.parametrize("missing", ["x", "layer", "position", "text", "text.bytes", "token.offsets"])
def test_tensors_of_another_form_are_damage(missing: str) -> None:
    tensors = some_points().tensors()
    del tensors[missing]
    if missing == "x":
        del tensors["y"]
    with pytest.raises(DamagedArtifact, match="map 1"):
        Points.from_tensors(tensors, label="map 1")


def test_no_points_are_points() -> None:
    empty = Labels(layer=0).points(np.zeros((0, 2), np.float32))
    again = Points.from_tensors(decode(encode(empty.tensors())).tensors, label="map")
    assert len(again) == 0
    assert again.lists()["text"] == []


def test_a_long_text_is_cut() -> None:
    assert shown("a" * MAX_TEXT) == "a" * MAX_TEXT
    cut = shown("a" * (MAX_TEXT + 1))
    assert len(cut) == MAX_TEXT
    assert cut.endswith("…")


def test_a_task_is_a_text_or_a_whole_number() -> None:
    found = [task_of({"task": task}) for task in ("sums", 3, 2.5, True, None, ["x"])]
    assert found == ["sums", "3", None, None, None, None]
    assert task_of({}) is None


def test_a_vocabulary_is_sampled_the_same_each_time() -> None:
    assert chosen_tokens(5, n=None, seed=0).tolist() == chosen_tokens(5, n=9, seed=0).tolist() == [0, 1, 2, 3, 4]
    some = chosen_tokens(100, n=7, seed=3).tolist()
    assert some == sorted(set(some)) == chosen_tokens(100, n=7, seed=3).tolist()
    assert len(some) == 7
    assert some != chosen_tokens(100, n=7, seed=4).tolist()


def test_layer_0_is_the_token_embeddings() -> None:
    assert [site_of(layer) for layer in (0, 1, 11)] == ["embed", "resid_pre.1", "resid_pre.11"]


def test_facts_of_later_versions_are_passed_over_and_missing_ones_are_damage() -> None:
    facts = MapFacts(
        model="m",
        revision="r",
        method="pca",
        n_components=2,
        layers=[0],
        sources=["a"],
        n_points=1,
        quality=[],
        added=[0, 0],
        max_tokens=9,
    )
    found = json.loads(facts.to_bytes())
    assert MapFacts.from_bytes(json.dumps({**found, "later": 1}).encode(), label="map") == facts
    del found["layers"]
    with pytest.raises(DamagedArtifact):
        MapFacts.from_bytes(json.dumps(found).encode(), label="map")
