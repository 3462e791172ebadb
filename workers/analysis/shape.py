"""The shape of one cloud: peaked or flat, one mode or several, Gaussian or not, how many dimensions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import diptest
import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from service.measures.arrays import Floats, as_points
from workers.analysis.intervals import Interval, bootstrap_interval

MAX_COMPONENTS = 8
# Facco et al. (2017): the largest ratios are the noisiest and are left out of the fit.
DISCARDED = 0.1


@dataclass(frozen=True, kw_only=True)
class Dip:
    """Hartigan's dip on one axis. p_value: of so large a dip under the uniform; a small one speaks for several modes."""

    dip: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class GaussianFit:
    """One Gaussian against a mixture of them, on points that neither has seen.

    gaussian, mixture: mean log-likelihood, nats a point. gain: mixture − gaussian with its interval; above 0 the
    cloud is no Gaussian. n_components: of the mixture, chosen on held-out points of its own. n_dims: after PCA.
    """

    gaussian: float
    mixture: float
    gain: Interval
    n_components: int
    n_dims: int


def projection_kurtosis(
    points: npt.ArrayLike, *, n_directions: int = 100, samples: int = 999, seed: int = 0
) -> Interval:
    """Mean excess kurtosis over random directions (interval: over directions): 0 for a Gaussian, above for a sharp peak."""
    given = as_points(points, name="points", at_least=4)
    return bootstrap_interval(
        stats.kurtosis(_projected(given, n=n_directions, seed=seed), axis=0), samples=samples, seed=seed
    )


def dip_test(points: npt.ArrayLike) -> Dip:
    """Hartigan and Hartigan (1985) along the first principal axis, where two modes would show first."""
    given = as_points(points, name="points", at_least=4)
    axis = PCA(1, svd_solver="full").fit_transform(given)[:, 0]
    dip, p_value = diptest.diptest(np.ascontiguousarray(axis))
    return Dip(dip=float(dip), p_value=float(p_value))


def share_multimodal(points: npt.ArrayLike, *, n_directions: int = 50, seed: int = 0, level: float = 0.05) -> float:
    """Share of random directions along which the dip test sees several modes at ``level``; about ``level`` or less for one."""
    projected = _projected(as_points(points, name="points", at_least=4), n=n_directions, seed=seed)
    found = [diptest.diptest(np.ascontiguousarray(column))[1] for column in projected.T]
    return float(np.mean(np.array(found) < level))


def gaussian_fit(points: npt.ArrayLike, *, n_dims: int = 16, samples: int = 999, seed: int = 0) -> GaussianFit:
    """Held-out log-likelihood of one Gaussian against the best mixture of 2 to 8, both after PCA to ``n_dims``.

    Half of the points fit, a quarter chooses the number of components, a quarter is measured on.
    """
    given = as_points(points, name="points", at_least=40)
    shuffled = given[np.random.default_rng(seed).permutation(len(given))]
    half, quarter = len(given) // 2, len(given) // 4
    # Fewer dimensions than a tenth of the points, so that covariances can be fitted.
    n_kept = min(n_dims, given.shape[1], max(1, half // 10))
    basis = PCA(n_kept, svd_solver="full").fit(shuffled[:half])
    fitting, choosing, measuring = np.split(basis.transform(shuffled), [half, half + quarter])
    one = _mixture(1, fitting, seed=seed)
    largest = min(MAX_COMPONENTS, max(2, half // (5 * n_kept)))
    candidates = [_mixture(k, fitting, seed=seed) for k in range(2, largest + 1)]
    best = max(candidates, key=lambda candidate: candidate.score(choosing))
    gains = best.score_samples(measuring) - one.score_samples(measuring)
    return GaussianFit(
        gaussian=float(one.score(measuring)),
        mixture=float(best.score(measuring)),
        gain=bootstrap_interval(gains, samples=samples, seed=seed),
        n_components=int(best.n_components),
        n_dims=n_kept,
    )


def intrinsic_dimension(points: npt.ArrayLike) -> float:
    """TwoNN (Facco et al. 2017): slope through the origin of −log(1 − F(μ)) over log μ, μ = r₂/r₁ of each point.

    Of points that are equal, one is kept.

    Raises:
        ValueError: fewer than ten points are left.
    """
    given = np.unique(as_points(points, name="points"), axis=0)
    if len(given) < 10:
        raise ValueError(f"expected at least ten different points, got {len(given)}")
    distances = NearestNeighbors(n_neighbors=3).fit(given).kneighbors(given)[0][:, 1:]
    # Nearly equal points may come out at distance 0, from rounding.
    ratios = np.sort(distances[distances[:, 0] > 0, 1] / distances[distances[:, 0] > 0, 0])
    kept = int(len(ratios) * (1 - DISCARDED))
    x = np.log(ratios[:kept])
    y = -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    return float((x @ y) / (x @ x))


def anisotropy(points: npt.ArrayLike, *, n_pairs: int = 100_000, seed: int = 0) -> float:
    """Mean cosine between two different points drawn at random (Ethayarajh 2019): 0 where directions are spread evenly."""
    given = as_points(points, name="points", at_least=2)
    norms = np.linalg.norm(given, axis=1, keepdims=True)
    unit = np.divide(given, norms, out=np.zeros_like(given), where=norms > 0)
    n = len(given)
    if n * (n - 1) <= 2 * n_pairs:
        # All pairs at once: the squared length of the sum holds each pair twice, and each point with itself.
        return float((np.square(unit.sum(0)).sum() - np.square(unit).sum()) / (n * (n - 1)))
    rng = np.random.default_rng(seed)
    first = rng.integers(n, size=n_pairs)
    second = (first + rng.integers(1, n, size=n_pairs)) % n
    return float((unit[first] * unit[second]).sum(1).mean())


def _projected(points: Floats, *, n: int, seed: int) -> Floats:
    """`[n_points, n]` along random directions that are even on the sphere."""
    directions = np.random.default_rng(seed).standard_normal((points.shape[1], n))
    projected: Floats = points @ (directions / np.linalg.norm(directions, axis=0))
    return projected


def _mixture(n_components: int, points: Floats, *, seed: int) -> GaussianMixture:
    with warnings.catch_warnings():
        # One that has not settled after a hundred rounds is judged by its held-out likelihood like any other.
        warnings.simplefilter("ignore")
        return GaussianMixture(n_components, reg_covar=1e-6 * float(points.var()), random_state=seed).fit(points)
