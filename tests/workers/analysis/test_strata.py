from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from workers.analysis.strata import kruskal_wallis_within, spearman_within


def test_one_stratum_is_kruskal_and_wallis() -> None:
    rng = np.random.default_rng(0)
    labels = ["a"] * 7 + ["b"] * 11 + ["c"] * 5
    values = np.round(rng.normal(size=23) + [0.8 * (label == "b") for label in labels], 1)
    groups = [values[np.array(labels) == label] for label in "abc"]
    expected = stats.kruskal(*groups)
    found = kruskal_wallis_within([0] * 23, labels, values, permutations=9999)
    assert found is not None
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)


def test_what_differs_between_strata_is_no_effect() -> None:
    # Within each stratum labels a and b have the same values; a stands more often where values are large.
    strata = ["low"] * 6 + ["high"] * 6
    labels = ["a", "b", "b", "b", "b", "b", "a", "a", "a", "a", "a", "b"]
    values = [1.0, 1.0, 1.1, 0.9, 1.2, 0.8, 9.0, 9.1, 8.9, 9.2, 8.8, 9.0]
    apart = kruskal_wallis_within(strata, labels, values)
    together = kruskal_wallis_within([0] * 12, labels, values)
    assert apart is not None
    assert together is not None
    assert apart.p_value > 0.9
    assert together.p_value < 0.2


def test_few_values_cannot_give_a_small_p_value() -> None:
    # Of the 20 splits of 3 and 3, two are as extreme as this one.
    found = kruskal_wallis_within([0] * 6, ["a"] * 3 + ["b"] * 3, [1, 2, 3, 4, 5, 6], permutations=9999)
    assert found is not None
    assert found.p_value == pytest.approx(0.1, abs=0.02)


def test_strata_add_up() -> None:
    strata = [0] * 6 + [1] * 6
    found = kruskal_wallis_within(strata, (["a"] * 3 + ["b"] * 3) * 2, [1, 2, 3, 4, 5, 6] * 2, permutations=9999)
    assert found is not None
    # Both must be extreme, and each may be so either way: 4 of 400.
    assert found.p_value == pytest.approx(0.01, abs=0.004)


def test_one_stratum_is_spearman() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=12)
    second = first + rng.normal(size=12)
    expected = stats.spearmanr(first, second, alternative="greater")
    found = spearman_within([0] * 12, first, second, permutations=9999)
    assert found is not None
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_rho_is_averaged_by_pairs() -> None:
    found = spearman_within([0] * 6 + [1] * 3, [1, 2, 3, 4, 5, 6, 1, 2, 3], [1, 2, 3, 4, 5, 6, 3, 2, 1])
    assert found is not None
    assert found.value == pytest.approx((6 - 3) / 9)


def test_it_knows_when_it_cannot_speak() -> None:
    assert kruskal_wallis_within([0, 0, 1, 1], ["a", "a", "b", "b"], [1, 2, 3, 4]) is None
    assert kruskal_wallis_within([0, 0], ["a", "b"], [1, 1]) is None
    assert spearman_within([0, 0], [1, 2], [1, 2]) is None
    assert spearman_within([0, 0, 0], [1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ValueError, match="stratum"):
        kruskal_wallis_within([0], ["a", "b"], [1, 2])
