"""The shape of clouds whose shape is known."""

from __future__ import annotations

import diptest
import numpy as np
import pytest
from scipy import stats

from workers.analysis.shape import (
    anisotropy,
    dip_test,
    gaussian_fit,
    intrinsic_dimension,
    projection_kurtosis,
    share_multimodal,
)


def test_kurtosis_is_scipys_on_a_line() -> None:
    values = np.random.default_rng(0).laplace(size=(3000, 1))
    assert projection_kurtosis(values).value == pytest.approx(stats.kurtosis(values[:, 0]))


def test_kurtosis_tells_a_peaked_cloud_from_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    gaussian = rng.normal(size=(4000, 10))
    # A Gaussian of random width in each point: t with 5 degrees of freedom, whose excess kurtosis is 6.
    peaked = gaussian * np.sqrt(5 / rng.chisquare(5, size=(4000, 1)))
    assert projection_kurtosis(gaussian).value == pytest.approx(0, abs=0.1)
    assert projection_kurtosis(peaked).low > 2


def test_the_dip_test_finds_two_modes() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(400, 4))
    two = one + np.where(np.arange(400) % 2, 4.0, -4.0)[:, None] * [1.0, 0, 0, 0]
    assert dip_test(one).p_value > 0.1
    assert dip_test(two).p_value < 0.01
    axis = two - two.mean(0)
    projected = axis @ np.linalg.svd(axis, full_matrices=False)[2][0]
    assert dip_test(two).dip == pytest.approx(diptest.dipstat(projected))
    assert share_multimodal(one) <= 0.1
    assert share_multimodal(two) > 0.3


def test_a_gaussian_is_not_beaten_by_a_mixture_and_a_mixture_is_no_gaussian() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1200, 3))
    three = one + 6.0 * np.eye(3)[rng.integers(3, size=1200)]
    assert gaussian_fit(one).gain.high < 0.1
    found = gaussian_fit(three)
    assert found.gain.low > 0.5
    assert found.n_components >= 3
    assert found.mixture - found.gaussian == pytest.approx(found.gain.value)


def test_the_gaussians_likelihood_is_scipys() -> None:
    points = np.random.default_rng(0).normal(size=(400, 2)) * [1.0, 3.0]
    found = gaussian_fit(points, seed=4)
    shuffled = points[np.random.default_rng(4).permutation(400)]
    fitting, measuring = shuffled[:200], shuffled[300:]
    gaussian = stats.multivariate_normal(fitting.mean(0), np.cov(fitting, rowvar=False, bias=True))
    assert found.gaussian == pytest.approx(gaussian.logpdf(measuring).mean(), abs=1e-3)
    assert found.n_dims == 2


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_dimension_of_a_sheet_in_a_large_space(d: int) -> None:
    rng = np.random.default_rng(0)
    flat = rng.uniform(size=(3000, d)) @ rng.normal(size=(d, 40))
    assert intrinsic_dimension(flat) == pytest.approx(d, rel=0.1)


def test_twins_count_once_in_the_dimension() -> None:
    line = np.random.default_rng(0).uniform(size=(2000, 1))
    doubled = np.concatenate([line, line[:500]])
    assert intrinsic_dimension(doubled) == pytest.approx(1, rel=0.1)
    with pytest.raises(ValueError, match="ten different points"):
        intrinsic_dimension(np.zeros((50, 2)))


def test_anisotropy_by_hand_and_by_sampling() -> None:
    assert anisotropy([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]]) == pytest.approx(1 / 3)
    points = np.random.default_rng(0).normal(size=(700, 6)) + 1.0
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosines = unit @ unit.T
    exact = (cosines.sum() - 700) / (700 * 699)
    assert anisotropy(points) == pytest.approx(exact, abs=0.005)
    assert anisotropy(points, n_pairs=10**6) == pytest.approx(exact)
