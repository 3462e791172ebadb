"""Where a prompt moved while it was tuned: from its draw to its posterior, and the way between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.measures.arrays import Floats, as_points


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """From draw to posterior, a value for each vector `[n]`.

    distance: Euclidean. cosine: similarity of draw and posterior. relative: distance over the draw's length.
    """

    distance: Floats
    cosine: Floats
    relative: Floats


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way of each vector through its snapshots, `[n]`.

    length: sum of the steps. straightness: distance between the ends over length; 1 is a straight line.
    """

    length: Floats
    straightness: Floats


def displacement(draw: npt.ArrayLike, posterior: npt.ArrayLike) -> Displacement:
    """Compare vectors `[n, d]` with what they became, row by row."""
    before, after = as_points(draw, name="draw"), as_points(posterior, name="posterior")
    if before.shape != after.shape:
        raise ValueError(f"expected draw and posterior of one shape, got {before.shape} and {after.shape}")
    distance = np.linalg.norm(after - before, axis=1)
    before_norm, after_norm = np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1)
    return Displacement(
        distance=distance,
        cosine=_divided((before * after).sum(1), before_norm * after_norm),
        relative=_divided(distance, before_norm),
    )


def way(snapshots: npt.ArrayLike) -> Way:
    """Length and straightness of the way through ``snapshots`` `[n_snapshots, n, d]`, in order."""
    path = np.asarray(snapshots, dtype=np.float64)
    if path.ndim != 3 or len(path) < 2 or not np.isfinite(path).all():
        raise ValueError(f"expected finite snapshots [n_snapshots ≥ 2, n, d], got shape {list(path.shape)}")
    length = np.linalg.norm(np.diff(path, axis=0), axis=2).sum(0)
    ends = np.linalg.norm(path[-1] - path[0], axis=1)
    return Way(length=length, straightness=_divided(ends, length))


def _divided(above: Floats, below: Floats) -> Floats:
    """above / below, 0 where both are 0."""
    quotient: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return np.where((below == 0) & (above > 0), np.inf, quotient)
