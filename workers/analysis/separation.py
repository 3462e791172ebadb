"""Separation of groups of points: two-sample tests, silhouette, linear probe and unsupervised clusters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from service.measures.arrays import Floats, as_points, require_same_width
from workers.analysis.intervals import Interval, bootstrap_interval
from workers.analysis.permutation import PermutationResult, Sums, p_value, permuted_sums

N_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Clusters found by HDBSCAN. agreement: adjusted Rand index with the labels; noise: share of points in no cluster."""

    n_clusters: int
    noise: float
    agreement: float


def energy_distance(
    first: npt.ArrayLike, second: npt.ArrayLike, *, permutations: int = 999, seed: int = 0
) -> PermutationResult:
    """2·E‖X−Y‖ − E‖X−X'‖ − E‖Y−Y'‖ over all ordered pairs (Székely and Rizzo 2013), with a permutation p-value.

    Non-negative, and 0 only for equal distributions. In the units of the points.
    """
    distances, n_first = _distances(first, second)
    n_second = len(distances) - n_first

    def statistic(sums: Sums) -> Floats:
        within = sums.within_first / n_first**2 + sums.within_second / n_second**2
        result: Floats = 2 * sums.between / (n_first * n_second) - within
        return result

    return p_value(statistic(permuted_sums(distances, n_first=n_first, permutations=permutations, seed=seed)))


def mmd(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    bandwidth: float | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> PermutationResult:
    """Unbiased squared maximum mean discrepancy under exp(−‖x−y‖²/2σ²) (Gretton et al. 2012), with a permutation p-value.

    Args:
        bandwidth: σ. None: the median distance over all pairs.

    Raises:
        ValueError: ``bandwidth`` is None and the median distance is 0.
    """
    distances, n_first = _distances(first, second, at_least=2)
    n_second = len(distances) - n_first
    sigma = bandwidth if bandwidth is not None else float(np.median(squareform(distances, checks=False)))
    if sigma <= 0:
        raise ValueError("the median distance is 0: give a bandwidth")
    kernel = np.exp(-np.square(distances) / (2 * sigma**2))
    np.fill_diagonal(kernel, 0.0)
    sums = permuted_sums(kernel, n_first=n_first, permutations=permutations, seed=seed)
    within = sums.within_first / (n_first * (n_first - 1)) + sums.within_second / (n_second * (n_second - 1))
    return p_value(within - 2 * sums.between / (n_first * n_second))


def silhouette(points: npt.ArrayLike, labels: Sequence[object], *, samples: int = 999, seed: int = 0) -> Interval:
    """Mean of (b − a) / max(a, b) over points (Rousseeuw 1987), with a bootstrap interval; −1 to 1.

    a: mean distance to the points of the same group; b: mean distance to the nearest other group.
    """
    given, codes = _labelled(points, labels)
    return bootstrap_interval(silhouette_samples(given, codes), samples=samples, seed=seed)


def probe_accuracy(points: npt.ArrayLike, labels: Sequence[object], *, samples: int = 999, seed: int = 0) -> Interval:
    """Cross-validated accuracy of a linear probe: logistic regression on standardized points, five stratified folds.

    With more than two groups, one probe per group against the others. The interval is a bootstrap over points.

    Raises:
        ValueError: A group has fewer than five points.
    """
    given, codes = _labelled(points, labels)
    if np.bincount(codes).min() < N_FOLDS:
        raise ValueError(f"expected at least {N_FOLDS} points in each group, got {np.bincount(codes).min()}")
    # Features of a language model are strongly correlated. There, L-BFGS takes 40 times as long as the trust-region Newton
    # method of liblinear (1,200 points of 576 correlated dimensions: 77 s against 1.8 s), for the same decisions.
    classifier = LogisticRegression(solver="liblinear", max_iter=1000)
    probe = make_pipeline(StandardScaler(), OneVsRestClassifier(classifier))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A probe that has not converged underestimates the separation, which is acceptable.
        warnings.simplefilter("ignore")
        predicted = cross_val_predict(probe, given, codes, cv=folds)
    return bootstrap_interval((predicted == codes).astype(float), samples=samples, seed=seed)


def clusters(
    points: npt.ArrayLike,
    labels: Sequence[object],
    *,
    min_cluster_size: int | None = None,
    n_dims: int = 20,
    seed: int = 0,
) -> Clusters:
    """Unsupervised clusters (HDBSCAN, Campello et al. 2013), compared with the labels.

    Args:
        min_cluster_size: None: a twentieth of the points, at least 5.
        n_dims: Dimensions kept by PCA first, since density estimates degrade in high dimensions.
    """
    given, codes = _labelled(points, labels)
    size = min_cluster_size if min_cluster_size is not None else max(5, len(given) // 20)
    n_kept = min(n_dims, *given.shape)
    reduced = PCA(n_kept, svd_solver="full", random_state=seed).fit_transform(given)
    found = HDBSCAN(min_cluster_size=size, copy=True).fit_predict(reduced)
    return Clusters(
        n_clusters=len(set(found.tolist()) - {-1}),
        noise=float(np.mean(found == -1)),
        agreement=float(adjusted_rand_score(codes, found)),
    )


def mean_distance_ratio(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """E‖X−Y‖ over the mean of E‖X−X'‖ and E‖Y−Y'‖ (pairs of different points): 1 for equal distributions."""
    a, b = as_points(first, name="first", at_least=2), as_points(second, name="second", at_least=2)
    require_same_width(first=a, second=b)
    return float(cdist(a, b).mean() / ((pdist(a).mean() + pdist(b).mean()) / 2))


def _distances(first: npt.ArrayLike, second: npt.ArrayLike, *, at_least: int = 1) -> tuple[Floats, int]:
    a, b = as_points(first, name="first", at_least=at_least), as_points(second, name="second", at_least=at_least)
    require_same_width(first=a, second=b)
    return squareform(pdist(np.concatenate([a, b]))), len(a)


def _labelled(points: npt.ArrayLike, labels: Sequence[object]) -> tuple[Floats, npt.NDArray[np.int64]]:
    given = as_points(points, name="points", at_least=2)
    if len(labels) != len(given):
        raise ValueError(f"expected one label per point for {len(given)} points, got {len(labels)}")
    names = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    if len(names) < 2:
        raise ValueError(f"expected at least two groups, got {len(names)}")
    return given, np.array([names[label] for label in labels], dtype=np.int64)
