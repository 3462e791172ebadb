"""Spread of a cloud: effective dimensions, pairwise distances, norms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from service.measures.arrays import Floats, as_points, require_same_width


def effective_rank(vectors: npt.ArrayLike, *, center: bool = False) -> float:
    """exp of the entropy of the normalized singular values of `[n, d]` (Roy and Vetterli 2007): 1 to min(n, d).

    center: subtract the mean first, so that a common offset does not count as a direction.
    """
    points = as_points(vectors, name="vectors")
    values = np.linalg.svd(points - points.mean(0) if center else points, compute_uv=False)
    return float(np.exp(_entropy(np.asarray(values, dtype=np.float64))))


def participation_ratio(vectors: npt.ArrayLike) -> float:
    """(Σλ)² / Σλ² over the eigenvalues λ of the covariance: effective number of directions with variance."""
    points = as_points(vectors, name="vectors", at_least=2)
    variances = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    total = float(np.square(variances).sum())
    return float(variances.sum() ** 2 / total) if total > 0 else 0.0


def mean_pairwise_distance(vectors: npt.ArrayLike) -> float:
    """Mean Euclidean distance over all pairs of different vectors."""
    return float(pdist(as_points(vectors, name="vectors", at_least=2)).mean())


def norm_ratio(vectors: npt.ArrayLike, vocabulary: npt.ArrayLike) -> float:
    """Mean norm of the vectors divided by the mean norm of the token embeddings."""
    points, tokens = as_points(vectors, name="vectors"), as_points(vocabulary, name="vocabulary")
    require_same_width(vectors=points, vocabulary=tokens)
    return float(np.linalg.norm(points, axis=1).mean() / np.linalg.norm(tokens, axis=1).mean())


def _entropy(values: Floats) -> float:
    total = values.sum()
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float(-(shares * np.log(shares)).sum())
