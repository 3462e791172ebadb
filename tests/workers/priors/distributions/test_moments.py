from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf, oas

from service.errors import InvalidRequest
from tests.workers.priors.clouds import moments_of, tilted_cloud
from workers.priors.distributions.chunks import ROWS
from workers.priors.distributions.moments import distinct_rows, measure, regularise


@pytest.mark.parametrize(("n", "d"), [(2, 3), (23, 7), (ROWS + 13, 5)])
def test_mean_and_covariance_are_numpys(n: int, d: int) -> None:
    points = tilted_cloud(n, d)
    mean, covariance = moments_of(points)
    found = measure(points)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance.numpy(), covariance, rtol=1e-9, atol=1e-12)
    assert (found.n, found.n_distinct) == (n, n)


@pytest.mark.parametrize(("n", "d"), [(11, 23), (61, 7)])
def test_shrunk_covariances_are_scikit_learns(n: int, d: int) -> None:
    points = tilted_cloud(n, d)
    for method, reference in (("ledoit-wolf", ledoit_wolf), ("oas", oas)):
        covariance, weight = reference(points.double().numpy())
        found = regularise(measure(points), shrinkage=method)  # type: ignore[arg-type]
        assert found.weight == pytest.approx(weight, rel=1e-9)
        assert 0 < weight < 1
        np.testing.assert_allclose(found.covariance.numpy(), covariance, rtol=1e-9, atol=1e-12)


def test_auto_shrinks_when_different_points_are_few() -> None:
    many, few = tilted_cloud(70, 7), tilted_cloud(69, 7)
    assert regularise(measure(many), shrinkage="auto").method == "none"
    assert regularise(measure(few), shrinkage="auto").method == "ledoit-wolf"
    repeated = few.repeat(3, 1)
    assert measure(repeated).n_distinct == 69
    assert regularise(measure(repeated), shrinkage="auto").method == "ledoit-wolf"
    assert regularise(measure(few), shrinkage="none").weight == 0


def test_distinct_rows_are_the_first_of_each() -> None:
    points = torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 5], [3, 4]])
    assert distinct_rows(points).tolist() == [0, 1, 3]


def test_one_point_has_no_covariance() -> None:
    with pytest.raises(InvalidRequest, match="at least 2 points, this source has 1"):
        measure(torch.zeros(1, 5))


def test_a_long_measurement_can_be_stopped() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(torch.zeros(2, 3), check=stop)
