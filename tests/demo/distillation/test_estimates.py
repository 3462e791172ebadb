"""Means and intervals, compared with SciPy's bootstrap and with known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from demo.distillation.estimates import Array, difference, mean, ratio

RNG = np.random.default_rng(4)
ONE: Array = (RNG.random((1, 120)) < 0.7).astype(np.float64)
OTHER: Array = (RNG.random((1, 120)) < 0.5).astype(np.float64)


def test_interval_of_one_seed_is_that_of_scipy() -> None:
    found = mean(ONE)
    known = stats.bootstrap((ONE[0],), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert found.value == ONE.mean()
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.015)


def test_interval_of_a_difference_is_that_of_the_paired_differences() -> None:
    found = difference(ONE, OTHER)
    known = stats.bootstrap(
        (ONE[0] - OTHER[0],), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert found.value == pytest.approx(ONE.mean() - OTHER.mean())
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.02)


def test_interval_of_a_ratio_is_that_of_scipy() -> None:
    found = ratio(ONE, OTHER)
    known = stats.bootstrap(
        (ONE[0], OTHER[0]),
        lambda one, other, axis: one.mean(axis) / other.mean(axis),
        n_resamples=4000,
        method="percentile",
        paired=True,
        vectorized=True,
        rng=1,
    ).confidence_interval
    assert found.value == ONE.mean() / OTHER.mean()
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.06)


def test_seeds_that_differ_widen_the_interval() -> None:
    same = np.tile(ONE, (3, 1))
    apart = np.concatenate([np.zeros_like(ONE), ONE, np.ones_like(ONE)])
    narrow, wide = mean(same), mean(apart)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_equal_values_have_no_width() -> None:
    found = mean(np.ones((3, 10)))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert difference(np.ones((3, 10)), np.ones((2, 10))).high == 0.0


def test_the_same_values_give_the_same_interval() -> None:
    assert mean(ONE) == mean(ONE)
