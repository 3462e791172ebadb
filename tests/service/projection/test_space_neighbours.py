"""Neighbours in the original space, against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from service.projection.space_neighbours import nearest_to

D = 13


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n", [5, 101, 8192 + 7])
def test_neighbours_are_those_of_scikit_learn(metric: Any, n: int) -> None:
    vectors = np.random.default_rng(n).normal(3, 1, size=(n, D)).astype(np.float32)
    point, k = n - 2, min(n - 1, 17)
    found = nearest_to(vectors, point, k=k, metric=metric)
    others = np.delete(np.arange(n), point)
    search = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(vectors[others].astype(np.float64))
    distances, indices = search.kneighbors(vectors[point : point + 1].astype(np.float64))
    assert found.indices.tolist() == others[indices[0]].tolist()
    np.testing.assert_allclose(found.distances, distances[0], rtol=1e-9, atol=1e-12)


def test_equal_points_are_neighbours_at_distance_0_in_order() -> None:
    vectors = np.ones((7, D), np.float32)
    vectors[3] = 2
    found = nearest_to(vectors, 5, k=100, metric="euclidean")
    assert found.indices.tolist() == [0, 1, 2, 4, 6, 3]
    assert found.distances.tolist() == [0, 0, 0, 0, 0, pytest.approx(D**0.5)]


def test_a_zero_vector_has_cosine_distance_1() -> None:
    vectors = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    assert nearest_to(vectors, 1, k=2, metric="cosine").distances.tolist() == [1, 2]
    assert nearest_to(vectors, 0, k=2, metric="cosine").distances.tolist() == [1, 1]
