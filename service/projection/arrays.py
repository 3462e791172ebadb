"""The arrays of this room, and the checks that all bases share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidRequest

MIN_POINTS = 5
"""Of a map; fewer lie on it anyhow."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def as_vectors(values: npt.NDArray[Any], *, d: int | None = None, name: str = "vectors") -> Floats:
    """``values`` as float32 `[n, d]`, without a copy where they are that already.

    Raises:
        InvalidRequest: another shape, or values that are not finite.
    """
    if values.ndim != 2 or (d is not None and values.shape[1] != d):
        wanted = "[n, d]" if d is None else f"[n, {d}]"
        raise InvalidRequest(f"Expected {name} of shape {wanted}, got {list(values.shape)}.", loc=(name,))
    vectors: Floats = np.asarray(values, dtype=np.float32)
    # A sum is finite when, and nearly only when, all of its parts are; only a bad one is looked at closer.
    if len(vectors) and not np.isfinite(vectors.sum(dtype=np.float64)) and not np.isfinite(vectors).all():
        raise InvalidRequest(f"Expected finite {name}, got NaN or infinite values.", loc=(name,))
    return vectors
