"""Mahalanobis distance, against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from workers.analysis.mahalanobis import fit_cloud


def test_mahalanobis_distance_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + [1.0, 2.0, 3.0]
    vectors = rng.normal(size=(5, 3))
    cloud = fit_cloud(points)
    fitted = EmpiricalCovariance().fit(points)
    expected = [mahalanobis(vector, fitted.location_, fitted.precision_) for vector in vectors]
    np.testing.assert_allclose(cloud.distances(vectors), expected)
    assert cloud.shrinkage == 0


def test_few_points_are_shrunk_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    points, vectors = rng.normal(size=(11, 23)), rng.normal(size=(3, 23))
    cloud = fit_cloud(points)
    fitted = LedoitWolf().fit(points)
    assert cloud.shrinkage == pytest.approx(fitted.shrinkage_)
    np.testing.assert_allclose(cloud.distances(vectors) ** 2, fitted.mahalanobis(vectors))


def test_a_flat_cloud_has_no_mahalanobis_distance() -> None:
    line = np.stack([np.arange(50.0), np.zeros(50)], axis=1)
    with pytest.raises(ValueError, match="singular"):
        fit_cloud(line)
