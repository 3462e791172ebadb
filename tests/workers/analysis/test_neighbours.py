"""Nearest tokens against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from workers.analysis.neighbours import nearest_tokens, neighbour_radii, share_within_radius, token_names


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_nearest_tokens_are_those_of_scikit_learn(metric: str, k: int) -> None:
    rng = np.random.default_rng(0)
    vectors, vocabulary = rng.normal(size=(7, 13)), rng.normal(size=(101, 13))
    distances, indices = (
        NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(vocabulary).kneighbors(vectors)
    )
    found = nearest_tokens(vectors, vocabulary, k=k, metric=metric)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, atol=1e-12)


def test_ties_go_to_the_lower_row() -> None:
    vocabulary = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    for k in (1, 2):
        assert nearest_tokens([[1.0, 0.0]], vocabulary, k=k).indices[0, :k].tolist() == [0, 2][:k]


def test_own_radii_leave_out_the_token_itself() -> None:
    np.testing.assert_allclose(neighbour_radii([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]), [5.0, 1.0, 1.0])


def test_own_radii_are_right_when_they_are_computed_in_pieces() -> None:
    points = np.random.default_rng(1).normal(size=(6007, 5))
    expected = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]
    np.testing.assert_allclose(neighbour_radii(points), expected, atol=1e-7)


def test_share_within_radius_counts_vectors_nearer_than_tokens_are_to_each_other() -> None:
    vocabulary = [[0.0, 0.0], [10.0, 0.0], [10.0, 2.0]]
    # Radii are 10, 2, 2: the first vector is within 10 of token 0, the second 3 from token 2, the third on token 1.
    vectors = [[-9.0, 0.0], [10.0, 5.0], [10.0, 0.0]]
    assert share_within_radius(vectors, vocabulary) == pytest.approx(2 / 3)


def test_token_names() -> None:
    nearest = nearest_tokens([[0.9, 0.0]], [[0.0, 0.0], [1.0, 0.0]], k=2)
    assert token_names(nearest, tokens=["zero", "one"]) == [["one", "zero"]]


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(ValueError, match="same dimensions"):
        nearest_tokens([[1.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"shape \[n, d\], got shape \[2\]"):
        nearest_tokens([1.0, 2.0], [[1.0]])
    with pytest.raises(ValueError, match="at least 4"):
        nearest_tokens([[1.0]], [[1.0]], k=4)
    with pytest.raises(ValueError, match="finite"):
        nearest_tokens([[np.nan]], [[1.0]])
