"""Displacement of a prompt during tuning: from draw to posterior, and the path between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.measures.arrays import Floats, as_points


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """Displacement of each vector from draw to posterior, arrays `[n]`.

    distance: Euclidean. cosine: similarity of draw and posterior. relative: distance divided by the norm of the draw.
    """

    distance: Floats
    cosine: Floats
    relative: Floats


@dataclass(frozen=True, kw_only=True)
class PathShape:
    """Path of each vector through its snapshots, arrays `[n]`.

    length: sum of the step lengths. straightness: distance between the ends divided by length; 1 for a straight line.
    """

    length: Floats
    straightness: Floats


def displacement(draw: npt.ArrayLike, posterior: npt.ArrayLike) -> Displacement:
    """Displacement between ``draw`` and ``posterior``, both `[n, d]`.

    Raises:
        ValueError: The shapes differ.
    """
    before, after = as_points(draw, name="draw"), as_points(posterior, name="posterior")
    if before.shape != after.shape:
        raise ValueError(f"expected draw and posterior of equal shape, got {before.shape} and {after.shape}")
    distance = np.linalg.norm(after - before, axis=1)
    before_norm, after_norm = np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1)
    return Displacement(
        distance=distance,
        cosine=_divided((before * after).sum(1), before_norm * after_norm),
        relative=_divided(distance, before_norm),
    )


def path_shape(snapshots: npt.ArrayLike) -> PathShape:
    """Length and straightness of the path through ``snapshots`` `[n_snapshots, n, d]`.

    Raises:
        ValueError: Other dimensions, fewer than two snapshots, or values that are not finite.
    """
    path = np.asarray(snapshots, dtype=np.float64)
    if path.ndim != 3 or len(path) < 2 or not np.isfinite(path).all():
        raise ValueError(f"expected finite snapshots [n_snapshots ≥ 2, n, d], got shape {list(path.shape)}")
    length = np.linalg.norm(np.diff(path, axis=0), axis=2).sum(0)
    ends = np.linalg.norm(path[-1] - path[0], axis=1)
    return PathShape(length=length, straightness=_divided(ends, length))


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator; 0 where both are 0, infinite where only the denominator is 0."""
    quotient: Floats = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return np.where((denominator == 0) & (numerator > 0), np.inf, quotient)
