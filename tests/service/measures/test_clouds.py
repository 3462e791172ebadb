"""Spread and displacement, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from service.measures.displacement import displacement, path_shape
from service.measures.spread import effective_rank, mean_pairwise_distance, norm_ratio, participation_ratio


def test_effective_rank_counts_equal_directions() -> None:
    assert effective_rank(np.eye(7)) == pytest.approx(7)
    assert effective_rank(np.diag([3.0, 3.0, 0.0])) == pytest.approx(2)
    assert effective_rank([[1.0, 2.0], [2.0, 4.0]]) == pytest.approx(1)


def test_effective_rank_is_the_entropy_of_the_singular_values() -> None:
    shares = np.array([3.0, 1.0]) / 4
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_a_common_offset_counts_as_a_direction_unless_centred() -> None:
    points = np.eye(3) + 100.0
    assert effective_rank(points) < 1.2
    assert effective_rank(points, center=True) == pytest.approx(2)


def test_participation_ratio_by_hand() -> None:
    corners = [[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    # Variances along the axes stand as 4 to 1.
    assert participation_ratio(corners) == pytest.approx(25 / 17)
    assert participation_ratio([[1.0, 1.0], [1.0, 1.0]]) == 0


def test_mean_pairwise_distance_and_norm_ratio_by_hand() -> None:
    assert mean_pairwise_distance([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]) == pytest.approx(10 / 3)
    assert norm_ratio([[3.0, 4.0]], [[1.0, 0.0], [0.0, 3.0]]) == pytest.approx(2.5)


def test_displacement_by_hand() -> None:
    moved = displacement([[3.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(moved.distance, [4.0, 0.0])
    np.testing.assert_allclose(moved.cosine, [0.6, 0.0])
    np.testing.assert_allclose(moved.relative, [4 / 3, 0.0])
    with pytest.raises(ValueError, match="equal shape"):
        displacement([[1.0]], [[1.0, 2.0]])


def test_a_path_by_hand() -> None:
    found = path_shape([[[0.0, 0.0], [1.0, 1.0]], [[3.0, 0.0], [1.0, 1.0]], [[3.0, 4.0], [1.0, 1.0]]])
    np.testing.assert_allclose(found.length, [7.0, 0.0])
    np.testing.assert_allclose(found.straightness, [5 / 7, 0.0])
    with pytest.raises(ValueError, match="snapshots"):
        path_shape([[[1.0]]])
