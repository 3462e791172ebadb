"""Intervals against a bootstrap spelt out, SciPy's, and what an interval is for: to hold the true mean as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from workers.analysis.intervals import mean_interval


def test_it_is_the_percentile_interval_of_resampled_means() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=53)
    generator = np.random.default_rng(7)
    means = [values[generator.integers(0, 53, 53)].mean() for _ in range(999)]
    low, high = mean_interval(values, samples=999, seed=7)
    assert (low, high) == pytest.approx((np.percentile(means, 2.5), np.percentile(means, 97.5)), rel=1e-9)


def test_it_is_scipys_for_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=31)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=500, confidence_level=0.8, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    low, high = mean_interval(values, samples=500, seed=3, confidence=0.8)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_weights_make_it_the_interval_of_a_ratio() -> None:
    rng = np.random.default_rng(4)
    values, weights = rng.normal(2.0, 1.0, size=41), rng.integers(1, 9, size=41).astype(float)
    generator = np.random.default_rng(5)
    drawn = [generator.integers(0, 41, 41) for _ in range(700)]
    ratios = [np.average(values[i], weights=weights[i]) for i in drawn]
    low, high = mean_interval(values, samples=700, seed=5, weights=weights)
    assert (low, high) == pytest.approx((np.percentile(ratios, 2.5), np.percentile(ratios, 97.5)), rel=1e-9)


def test_it_holds_the_true_share_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    n_inside = 0
    for seed in range(200):
        low, high = mean_interval((rng.random(100) < 0.3).astype(float), samples=300, seed=seed)
        n_inside += low <= 0.3 <= high
    assert 0.90 <= n_inside / 200 <= 0.99


def test_the_seed_decides() -> None:
    values = np.random.default_rng(8).normal(size=29)
    assert mean_interval(values, samples=200, seed=1) == mean_interval(values, samples=200, seed=1)
    assert mean_interval(values, samples=200, seed=1) != mean_interval(values, samples=200, seed=2)


def test_equal_values_have_no_spread() -> None:
    assert mean_interval([1.0] * 20, samples=100, seed=0) == (1.0, 1.0)
    assert mean_interval([0.25], samples=100, seed=0) == (0.25, 0.25)


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([], samples=100, seed=0)
    with pytest.raises(ValueError, match="expected 2 weights"):
        mean_interval([1.0, 2.0], samples=100, seed=0, weights=[1.0])
