"""Separation against SciPy, against plain loops, and on clouds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from service.measures.arrays import Floats
from workers.analysis.permutation import permutation_test_loop, permuted_sums
from workers.analysis.separation import clusters, energy_distance, mean_distance_ratio, mmd, probe_accuracy, silhouette


def two_clouds(apart: float, *, n: int = 60, d: int = 5, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n + 7, d)) + apart / np.sqrt(d)


def test_energy_distance_on_a_line_is_the_square_of_scipys() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 37))
    expected = stats.energy_distance(first, second) ** 2
    assert energy_distance(first[:, None], second[:, None]).value == pytest.approx(expected)


def test_mmd_is_its_definition() -> None:
    first, second = two_clouds(1.0, n=9)

    def kernel(a: Floats, b: Floats) -> float:
        return float(np.exp(-np.sum((a - b) ** 2) / (2 * 1.7**2)))

    xx = np.mean([kernel(a, b) for i, a in enumerate(first) for j, b in enumerate(first) if i != j])
    yy = np.mean([kernel(a, b) for i, a in enumerate(second) for j, b in enumerate(second) if i != j])
    xy = np.mean([kernel(a, b) for a in first for b in second])
    assert mmd(first, second, bandwidth=1.7).value == pytest.approx(xx + yy - 2 * xy)


def test_the_bandwidth_is_the_median_distance() -> None:
    first, second = two_clouds(1.0, n=9)
    median = float(np.median(pdist(np.concatenate([first, second]))))
    assert mmd(first, second).value == mmd(first, second, bandwidth=median).value


def test_all_permutations_at_once_are_the_plain_loop() -> None:
    first, second = two_clouds(0.4, n=23)
    matrix = squareform(pdist(np.concatenate([first, second])))

    def energy(own: Floats, other: Floats, between: Floats) -> float:
        return float(2 * between.mean() - own.mean() - other.mean())

    plain = permutation_test_loop(matrix, n_first=23, permutations=700, seed=3, statistic=energy)
    fast = energy_distance(first, second, permutations=700, seed=3)
    assert fast.value == pytest.approx(plain.value)
    assert fast.p_value == plain.p_value
    assert 0.01 < fast.p_value < 0.9


def test_the_sums_add_up() -> None:
    matrix = squareform(pdist(np.random.default_rng(0).normal(size=(17, 2))))
    sums = permuted_sums(matrix, n_first=5, permutations=50, seed=0)
    np.testing.assert_allclose(sums.within_first + sums.within_second + 2 * sums.between, matrix.sum())
    assert sums.between[0] == pytest.approx(matrix[:5, 5:].sum())


@pytest.mark.parametrize("test", [energy_distance, mmd])
def test_the_p_value_is_even_when_nothing_differs(test: object) -> None:
    found = []
    for seed in range(100):
        first, second = two_clouds(0.0, n=15, seed=seed)
        found.append(test(first, second, permutations=99, seed=seed).p_value)  # type: ignore[operator]
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("test", [energy_distance, mmd])
def test_the_p_value_is_the_smallest_possible_when_clouds_are_far_apart(test: object) -> None:
    first, second = two_clouds(6.0)
    assert test(first, second, permutations=999).p_value == pytest.approx(1 / 1000)  # type: ignore[operator]


def test_silhouette_is_that_of_scikit_learn() -> None:
    first, second = two_clouds(2.0)
    points, labels = np.concatenate([first, second]), ["a"] * len(first) + ["b"] * len(second)
    found = silhouette(points, labels)
    assert found.value == pytest.approx(silhouette_score(points, labels))
    assert found.low < found.value < found.high


def test_the_probe_reaches_what_the_best_rule_can() -> None:
    first, second = two_clouds(3.0, n=400)
    points, labels = np.concatenate([first, second]), [0] * len(first) + [1] * len(second)
    found = probe_accuracy(points, labels)
    # Two unit Gaussians 3 apart: the best rule is right in Phi(1.5) of all cases.
    assert found.low - 0.01 <= stats.norm.cdf(1.5) <= found.high + 0.01


def test_the_probe_decides_as_one_fitted_by_another_method_on_correlated_features() -> None:
    rng = np.random.default_rng(3)
    spread = np.diag(np.arange(1, 31) ** -1.0) @ np.linalg.qr(rng.normal(size=(30, 30)))[0]
    points = np.concatenate([rng.normal(size=(100, 30)) @ spread, rng.normal(size=(100, 30)) @ spread + 0.05])
    labels = [0] * 100 + [1] * 100
    probe = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-8))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    expected = np.mean(cross_val_predict(probe, points, labels, cv=folds) == labels)
    assert 0.6 < expected < 1
    assert probe_accuracy(points, labels).value == pytest.approx(expected, abs=0.011)


def test_the_probe_learns_nothing_where_there_is_nothing() -> None:
    first, second = two_clouds(0.0, n=200)
    found = probe_accuracy(np.concatenate([first, second]), [0] * len(first) + [1] * len(second))
    assert found.value == pytest.approx(0.5, abs=0.08)


def test_clusters_agree_with_labels_where_they_are_the_clusters() -> None:
    first, second = two_clouds(12.0)
    found = clusters(np.concatenate([first, second]), ["a"] * len(first) + ["b"] * len(second))
    assert found.n_clusters == 2
    assert found.agreement > 0.8
    one, same = two_clouds(0.0)
    assert clusters(np.concatenate([one, same]), ["a"] * len(one) + ["b"] * len(same)).agreement < 0.1


def test_mean_distance_ratio_by_its_definition() -> None:
    first, second = two_clouds(2.0)
    expected = cdist(first, second).mean() / ((pdist(first).mean() + pdist(second).mean()) / 2)
    assert mean_distance_ratio(first, second) == pytest.approx(expected)


def test_what_cannot_be_measured_is_named() -> None:
    points = np.zeros((6, 2))
    with pytest.raises(ValueError, match="at least two groups"):
        silhouette(points, ["a"] * 6)
    with pytest.raises(ValueError, match="one label per point for 6"):
        silhouette(points, ["a"])
    with pytest.raises(ValueError, match="at least 5 points in each group"):
        probe_accuracy(points, ["a", "a", "b", "b", "b", "b"])
    with pytest.raises(ValueError, match="bandwidth"):
        mmd(points, points)
    with pytest.raises(ValueError, match="same dimensions"):
        energy_distance([[1.0]], [[1.0, 2.0]])
