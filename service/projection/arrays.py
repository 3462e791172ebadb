"""Array types, and the validation of vectors that all bases share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidRequest

MIN_POINTS = 5
"""Minimum number of points of a map."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def as_vectors(values: npt.NDArray[Any], *, d: int | None = None, name: str = "vectors") -> Floats:
    """``values`` as float32 `[n, d]`, without a copy if possible.

    Raises:
        InvalidRequest: wrong shape, or NaN or infinite values.
    """
    if values.ndim != 2 or (d is not None and values.shape[1] != d):
        expected = "[n, d]" if d is None else f"[n, {d}]"
        raise InvalidRequest(f"Expected {name} of shape {expected}, got {list(values.shape)}.", loc=(name,))
    vectors: Floats = np.asarray(values, dtype=np.float32)
    # A sum with NaN or infinite terms is not finite: the exact check runs only for those.
    if len(vectors) and not np.isfinite(vectors.sum(dtype=np.float64)) and not np.isfinite(vectors).all():
        raise InvalidRequest(f"Expected finite {name}, got NaN or infinite values.", loc=(name,))
    return vectors
