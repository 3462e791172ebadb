"""Validation of arrays for measures; all measures compute in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def as_points(values: npt.ArrayLike, *, name: str, at_least: int = 1) -> Floats:
    """``values`` as float64 `[n, d]`.

    Raises:
        ValueError: Other dimensions, fewer than ``at_least`` points, or values that are not finite.
    """
    points: Floats = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"{name}: expected points of shape [n, d], got shape {list(points.shape)}")
    if len(points) < at_least:
        raise ValueError(f"{name}: expected at least {at_least} points, got {len(points)}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name}: expected finite values")
    return points


def require_same_width(**clouds: npt.NDArray[Any]) -> None:
    """ValueError unless all have the same number of dimensions."""
    widths = {name: cloud.shape[-1] for name, cloud in clouds.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"expected the same dimensions, got {widths}")
