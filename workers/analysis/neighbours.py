"""Nearest tokens of vectors, and neighbour radii of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances_chunked

from service.measures.arrays import Floats, Ints, as_points, require_same_width

Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The k nearest tokens of each vector, nearest first.

    indices: `[n, k]`, rows of the vocabulary. distances: `[n, k]`, Euclidean or 1 − cosine similarity.
    """

    indices: Ints
    distances: Floats


def nearest_tokens(
    vectors: npt.ArrayLike, vocabulary: npt.ArrayLike, *, k: int = 1, metric: Metric = "euclidean"
) -> Nearest:
    """The k nearest rows of ``vocabulary`` `[n_tokens, d]` for each of ``vectors`` `[n, d]`; ties go to the lower row."""
    queries, tokens = as_points(vectors, name="vectors"), as_points(vocabulary, name="vocabulary", at_least=k)
    require_same_width(vectors=queries, vocabulary=tokens)
    return _nearest(queries, tokens, k=k, metric=metric)


def neighbour_radii(vocabulary: npt.ArrayLike, *, metric: Metric = "euclidean") -> Floats:
    """Distance of each token to its nearest other token, `[n_tokens]`."""
    tokens = as_points(vocabulary, name="vocabulary", at_least=2)
    return _nearest(tokens, tokens, k=1, metric=metric, exclude=np.arange(len(tokens))).distances[:, 0]


def share_within_radius(vectors: npt.ArrayLike, vocabulary: npt.ArrayLike) -> float:
    """Share of vectors whose nearest token is nearer than that token's nearest other token.

    1 means full collapse onto tokens. The radius of a token with a duplicate is 0, so only exact copies are within it.
    """
    nearest = nearest_tokens(vectors, vocabulary)
    # Radii only of tokens that are nearest to some vector: a cloud of states has too many points for all pairs.
    chosen, index = np.unique(nearest.indices[:, 0], return_inverse=True)
    tokens = as_points(vocabulary, name="vocabulary", at_least=2)
    radii = _nearest(tokens[chosen], tokens, k=1, metric="euclidean", exclude=chosen).distances[:, 0]
    return float(np.mean(nearest.distances[:, 0] <= radii[index]))


def token_names(nearest: Nearest, *, tokens: Sequence[str]) -> list[list[str]]:
    """Names of the nearest tokens of each vector."""
    return [[tokens[index] for index in row] for row in nearest.indices.tolist()]


def _nearest(queries: Floats, tokens: Floats, *, k: int, metric: Metric, exclude: Ints | None = None) -> Nearest:
    """exclude: `[n]`, one row of ``tokens`` per query that does not count, namely the query itself."""

    def keep(distances: npt.NDArray[Any], start: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if exclude is not None:
            rows = np.arange(len(distances))
            distances[rows, exclude[start + rows]] = np.inf
        # Both resolve ties to the lower row; sorting whole rows is affordable for the few vectors of a prompt.
        order = distances.argmin(1)[:, None] if k == 1 else np.argsort(distances, axis=1, kind="stable")[:, :k]
        return order, np.take_along_axis(distances, order, 1)

    found = list(pairwise_distances_chunked(queries, tokens, metric=metric, reduce_func=keep, working_memory=256))
    return Nearest(
        indices=np.concatenate([order for order, _ in found]).astype(np.int64),
        distances=np.concatenate([distances for _, distances in found]),
    )
