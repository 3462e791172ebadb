from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from service.projection.bases import FitSettings
from service.projection.refit_loss import MIN_SAMPLE, compare_refitting, neighbour_quality


def cloud(n: int, d: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_over_all_rows_it_is_the_known_trustworthiness(metric: str) -> None:
    high, low = cloud(61, 7, seed=0), cloud(61, 2, seed=1)
    low[:30] = high[:30, :2]
    found = neighbour_quality(high, low, rows=np.arange(61), metric=metric, k=11)
    assert found.trustworthiness == pytest.approx(trustworthiness(high, low, n_neighbors=11, metric=metric))


def test_neighbours_are_shared_by_hand() -> None:
    high = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]], np.float32)
    # On the map the first point and the fourth have changed places.
    low = high[[3, 1, 2, 0, 4, 5]]
    found = neighbour_quality(high, low, rows=np.array([0, 1]), k=2)
    # In the space the nearest are {1, 2} of 0 and {0, 2} of 1; on the map {4, 5} of 0 and {2, 3} of 1.
    assert found.neighbor_overlap == pytest.approx((0 / 2 + 1 / 2) / 2)


def test_a_plane_is_placed_as_well_as_it_is_fitted() -> None:
    plane = cloud(120, 2, seed=2) @ cloud(2, 9, seed=3)
    found = compare_refitting(plane, settings=FitSettings(), sample=100, seed=5)
    assert found is not None
    assert found.n_held_out == 20
    assert found.placed.trustworthiness == pytest.approx(1.0)
    assert found.placed.neighbor_overlap > 0.98
    assert found.refitted.neighbor_overlap > 0.98


def test_too_few_points_tell_nothing() -> None:
    assert compare_refitting(cloud(MIN_SAMPLE - 1, 4, seed=0), settings=FitSettings(), sample=1000, seed=0) is None
