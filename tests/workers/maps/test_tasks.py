from __future__ import annotations

import numpy as np
import pytest
from promptatlas.types.maps import MapSpec
from sklearn.metrics import silhouette_score

from service.store.maps.points import Labels
from workers.maps.tasks import task_silhouette, tasks_of

SPEC = MapSpec.model_validate(
    {"model": "small", "sources": [{"dataset": "sums"}, {"dataset": "words"}, {"texts": ["a"]}, {"dataset": "words"}]}
)


def test_a_task_is_the_records_or_the_dataset() -> None:
    labels = Labels(layer=2)
    labels.add(2, source="first", role="state", task=["plus", None])
    labels.add(2, source="second", role="state")
    labels.add(1, source="third", role="state")
    labels.add(1, source="under a prompt", role="state")
    points = labels.points(np.zeros((6, 2), np.float32))
    found = tasks_of(points, spec=SPEC, names=["first", "second", "third", "under a prompt"])
    assert found == ["plus", "sums", "words", "words", None, "words"]


def test_the_silhouette_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(23, 7)), rng.normal(2, 1, size=(19, 7)), rng.normal(size=(5, 7))])
    tasks = ["a"] * 23 + ["b"] * 19 + [None] * 5
    found = task_silhouette(vectors.astype(np.float32), tasks, sample=100, seed=0)
    assert found == pytest.approx(silhouette_score(vectors[:42], tasks[:42]), abs=1e-6)


@pytest.mark.parametrize("tasks", [[None] * 4, ["a"] * 4, ["a", "b", "c", "d"]])
def test_without_two_groups_of_points_nothing_is_measured(tasks: list[str | None]) -> None:
    assert task_silhouette(np.eye(4, dtype=np.float32), tasks, sample=100, seed=0) is None
