"""``python -m benchmarks.sides.pca_process SIDE N D SEED FILE``: one fit in a separate process, to measure its peak memory.

Writes the places `[n, 2]` to FILE (npy) and prints ``{"seconds", "peak_bytes"}``. The points are made before the clock runs;
they are part of the peak, on either side.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

N_COMPONENTS = 2
_CHUNK = 4096

Floats = npt.NDArray[np.float32]


def points_of(n: int, d: int, *, seed: int) -> Floats:
    """Float32 `[n, d]`: directions of decreasing variance plus noise, not centred, created in place."""
    rng = np.random.default_rng(seed)
    scales = (10.0 / np.arange(1, d + 1)).astype(np.float32)
    mean = rng.normal(size=d).astype(np.float32)
    points = np.empty((n, d), np.float32)
    for start in range(0, n, _CHUNK):
        block = points[start : start + _CHUNK]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= scales + 0.05
        block += mean
    return points


def fit_map(points: Floats) -> Floats:
    """Fit as a map run does."""
    from service.projection.bases import FitSettings, fit_basis

    _, places, _ = fit_basis(points, settings=FitSettings(method="pca", n_components=N_COMPONENTS))
    return places


def fit_plain(points: Floats) -> Floats:
    """Fit with scikit-learn."""
    from sklearn.decomposition import PCA

    found: Floats = PCA(n_components=N_COMPONENTS, svd_solver="full").fit_transform(points)
    return found


SIDES: Mapping[str, Callable[[Floats], Floats]] = {"map": fit_map, "scikit-learn": fit_plain}


def main(side: str, n: int, d: int, seed: int, file: str) -> None:
    """Fit and report."""
    fit = SIDES[side]
    # Libraries are loaded before timing starts.
    fit(points_of(64, 8, seed=seed))
    points = points_of(n, d, seed=seed)
    began = time.perf_counter()
    places = fit(points)
    seconds = time.perf_counter() - began
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.save(file, places)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
