"""Walks by hand, and the null model by its own law."""

from __future__ import annotations

import numpy as np
import pytest

from workers.analysis.intervals import bootstrap_interval, cohens_d, ratio_of_means
from workers.analysis.trajectories import compare_with_null, random_walks, trajectory_shape


def test_a_straight_line_by_hand() -> None:
    shape = trajectory_shape([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    assert shape.step_length == 2
    assert shape.radius_of_gyration == pytest.approx(np.sqrt(8 / 3))
    assert shape.persistence == pytest.approx(1)


def test_turning_back_and_standing_still() -> None:
    assert trajectory_shape([[0.0], [1.0], [0.0], [1.0]]).persistence == pytest.approx(-1)
    still = trajectory_shape([[1.0], [1.0], [1.0]])
    assert (still.step_length, still.radius_of_gyration, still.persistence) == (0, 0, 0)


def test_the_null_model_goes_over_the_points_alone_in_the_lengths_asked_for() -> None:
    points = np.random.default_rng(0).normal(size=(31, 3))
    walks = random_walks(points, lengths=[4, 7], n=5, seed=1)
    assert [len(walk) for walk in walks] == [4, 7, 4, 7, 4]
    assert all((walk[:, None] == points[None]).all(-1).any(1).all() for walk in walks)
    again = random_walks(points, lengths=[4, 7], n=5, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(walks, again, strict=True))


def test_independent_points_have_persistence_minus_one_half() -> None:
    points = np.random.default_rng(0).normal(size=(5000, 50))
    walks = random_walks(points, lengths=[100], n=40, seed=0)
    assert np.mean([trajectory_shape(walk).persistence for walk in walks]) == pytest.approx(-0.5, abs=0.01)


def test_walks_of_the_null_model_equal_it() -> None:
    points = np.random.default_rng(0).normal(size=(2000, 8))
    ours = random_walks(points, lengths=[20], n=100, seed=5)
    step, gyration, persistence = compare_with_null(ours, points, seed=1)
    for found in (step, gyration):
        assert found.ratio is not None
        assert found.ratio.low < 1 < found.ratio.high
    assert persistence.ratio is None
    assert abs(persistence.effect) < 0.3


def test_a_localized_walk_is_told_from_the_null_model() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, 8))
    ours = [points[index] + 0.1 * rng.normal(size=(20, 8)) for index in range(50)]
    step, gyration, _ = compare_with_null(ours, points, seed=1)
    for found in (step, gyration):
        assert found.ratio is not None
        assert found.ratio.high < 0.2
        assert found.effect < -5
    assert gyration.to_json()["ratio"]["value"] == gyration.ratio.value  # type: ignore[union-attr]


def test_a_cloud_that_is_one_point_has_no_width_to_compare_with() -> None:
    walks = [np.random.default_rng(i).normal(size=(5, 2)) for i in range(3)]
    found = {one.measure: one for one in compare_with_null(walks, np.ones((10, 2)))}
    assert found["step_length"].ratio is None
    assert found["radius_of_gyration"].to_json()["ratio"] is None


def test_short_walks_are_left_out_and_too_few_refused() -> None:
    points = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(ValueError, match="at least two trajectories"):
        compare_with_null([points[:2], points[:5]], points)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(3, 1, size=60), seed=index) for index in range(200)]
    covered = np.mean([found.low <= 3 <= found.high for found in intervals])
    assert 0.9 <= covered <= 0.99


def test_the_ratio_of_means_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(0)
    top, bottom = rng.normal(4, 1, size=400), rng.normal(2, 1, size=400)
    found = ratio_of_means(top, bottom, samples=4000)
    spread = found.value * np.sqrt(top.var() / 400 / top.mean() ** 2 + bottom.var() / 400 / bottom.mean() ** 2)
    assert found.low == pytest.approx(found.value - 1.96 * spread, rel=0.02)
    assert found.high == pytest.approx(found.value + 1.96 * spread, rel=0.02)


def test_cohens_d_by_hand() -> None:
    assert cohens_d([1.0, 3.0], [0.0, 2.0]) == pytest.approx(1 / np.sqrt(2))
    assert cohens_d([1.0, 1.0], [1.0, 1.0]) == 0
    assert cohens_d([2.0, 2.0], [1.0, 1.0]) == np.inf
