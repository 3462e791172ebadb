"""Shape of a cloud: kurtosis, modality, Gaussian fit, intrinsic dimension, anisotropy."""

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
# Facco et al. (2017) discard the largest ratios, which are the noisiest.
DISCARDED = 0.1


@dataclass(frozen=True, kw_only=True)
class Dip:
    """Hartigan's dip on one axis. p_value: under the uniform distribution; small values indicate several modes."""

    dip: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class GaussianFit:
    """Held-out comparison of one Gaussian with a mixture of Gaussians.

    gaussian, mixture: mean log-likelihood, nats per point. gain: mixture − gaussian with its interval; if it is above 0, the
    cloud is not Gaussian. n_components: of the mixture, selected on validation points. n_dims: after PCA.
    """

    gaussian: float
    mixture: float
    gain: Interval
    n_components: int
    n_dims: int


def projection_kurtosis(
    points: npt.ArrayLike, *, n_directions: int = 100, samples: int = 999, seed: int = 0
) -> Interval:
    """Mean excess kurtosis over random directions, with an interval over directions: 0 for a Gaussian, positive if peaked."""
    given = as_points(points, name="points", at_least=4)
    return bootstrap_interval(
        stats.kurtosis(_projected(given, n=n_directions, seed=seed), axis=0), samples=samples, seed=seed
    )


def dip_test(points: npt.ArrayLike) -> Dip:
    """Dip test (Hartigan and Hartigan 1985) along the first principal axis."""
    given = as_points(points, name="points", at_least=4)
    axis = PCA(1, svd_solver="full").fit_transform(given)[:, 0]
    dip, p_value = diptest.diptest(np.ascontiguousarray(axis))
    return Dip(dip=float(dip), p_value=float(p_value))


def share_multimodal(points: npt.ArrayLike, *, n_directions: int = 50, seed: int = 0, level: float = 0.05) -> float:
    """Share of random directions along which the dip test rejects unimodality; at most about ``level`` for one mode."""
    projected = _projected(as_points(points, name="points", at_least=4), n=n_directions, seed=seed)
    found = [diptest.diptest(np.ascontiguousarray(column))[1] for column in projected.T]
    return float(np.mean(np.array(found) < level))


def gaussian_fit(points: npt.ArrayLike, *, n_dims: int = 16, samples: int = 999, seed: int = 0) -> GaussianFit:
    """Held-out log-likelihood of one Gaussian and of the best mixture of 2 to 8, both after PCA to ``n_dims``.

    Half of the points are for fitting, a quarter selects the number of components, a quarter is the test set.
    """
    given = as_points(points, name="points", at_least=40)
    shuffled = given[np.random.default_rng(seed).permutation(len(given))]
    half, quarter = len(given) // 2, len(given) // 4
    # At most one dimension per ten points, so that covariances can be estimated.
    n_kept = min(n_dims, given.shape[1], max(1, half // 10))
    basis = PCA(n_kept, svd_solver="full").fit(shuffled[:half])
    train, validation, test = np.split(basis.transform(shuffled), [half, half + quarter])
    one = _mixture(1, train, seed=seed)
    largest = min(MAX_COMPONENTS, max(2, half // (5 * n_kept)))
    candidates = [_mixture(k, train, seed=seed) for k in range(2, largest + 1)]
    best = max(candidates, key=lambda candidate: candidate.score(validation))
    gains = best.score_samples(test) - one.score_samples(test)
    return GaussianFit(
        gaussian=float(one.score(test)),
        mixture=float(best.score(test)),
        gain=bootstrap_interval(gains, samples=samples, seed=seed),
        n_components=int(best.n_components),
        n_dims=n_kept,
    )


def intrinsic_dimension(points: npt.ArrayLike) -> float:
    """TwoNN estimate (Facco et al. 2017): slope through the origin of −log(1 − F(μ)) over log μ, with μ = r₂/r₁.

    Duplicate points are removed.

    Raises:
        ValueError: Fewer than ten different points.
    """
    given = np.unique(as_points(points, name="points"), axis=0)
    if len(given) < 10:
        raise ValueError(f"expected at least ten different points, got {len(given)}")
    distances = NearestNeighbors(n_neighbors=3).fit(given).kneighbors(given)[0][:, 1:]
    # Nearly equal points may have distance 0 because of rounding.
    ratios = np.sort(distances[distances[:, 0] > 0, 1] / distances[distances[:, 0] > 0, 0])
    kept = int(len(ratios) * (1 - DISCARDED))
    x = np.log(ratios[:kept])
    y = -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    return float((x @ y) / (x @ x))


def anisotropy(points: npt.ArrayLike, *, n_pairs: int = 100_000, seed: int = 0) -> float:
    """Mean cosine between two different random points (Ethayarajh 2019): 0 for uniformly distributed directions."""
    given = as_points(points, name="points", at_least=2)
    norms = np.linalg.norm(given, axis=1, keepdims=True)
    unit = np.divide(given, norms, out=np.zeros_like(given), where=norms > 0)
    n = len(given)
    if n * (n - 1) <= 2 * n_pairs:
        # All pairs: the squared norm of the sum contains each pair twice and each point with itself once.
        return float((np.square(unit.sum(0)).sum() - np.square(unit).sum()) / (n * (n - 1)))
    rng = np.random.default_rng(seed)
    first = rng.integers(n, size=n_pairs)
    second = (first + rng.integers(1, n, size=n_pairs)) % n
    return float((unit[first] * unit[second]).sum(1).mean())


def _projected(points: Floats, *, n: int, seed: int) -> Floats:
    """Projections `[n_points, n]` onto directions uniform on the sphere."""
    directions = np.random.default_rng(seed).standard_normal((points.shape[1], n))
    projected: Floats = points @ (directions / np.linalg.norm(directions, axis=0))
    return projected


def _mixture(n_components: int, points: Floats, *, seed: int) -> GaussianMixture:
    with warnings.catch_warnings():
        # A fit that has not converged is still compared by its held-out likelihood.
        warnings.simplefilter("ignore")
        return GaussianMixture(n_components, reg_covar=1e-6 * float(points.var()), random_state=seed).fit(points)
