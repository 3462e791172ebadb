"""Maps: fitting against scikit-learn, and placing new points against refitting."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measuring.contest import Agreement, Contest, Metrics, Side, quotient, speedup
from benchmarks.sides.processes import ROOT
from service.projection.bases import FitSettings, fit_basis
from service.projection.refit_loss import NeighbourQuality, neighbour_quality

MEBIBYTE = 1 << 20

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FitSize:
    """Points for PCA."""

    n: int
    d: int


FIT_FULL = FitSize(n=100_000, d=2048)
FIT_QUICK = FitSize(n=4_000, d=256)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Report of one process. places `[n, 2]`."""

    places: Floats
    seconds: float
    peak_bytes: int

    def metrics(self) -> Metrics:
        """Without the creation of the points, which the contest's clock includes."""
        return {"fit_s": self.seconds, "peak_MiB": self.peak_bytes / MEBIBYTE}


@contextlib.contextmanager
def open_fitting(size: FitSize, *, http: bool) -> Iterator[Contest]:
    """Both fits, each in a separate process; ``http`` has no effect."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        sides = [
            Side(name=name, run=partial(_fit_apart, name, size, Path(folder)), metrics=Fitted.metrics)
            for name in ("map", "scikit-learn")
        ]
        yield Contest(
            name="map-pca",
            work=(
                f"PCA of {size.n:,} points × {size.d:,} dimensions (float32, in memory) to two, with the positions of all "
                "points."
            ),
            sides=sides,
            goals=[
                quotient("fit_s", "scikit-learn", "map", label='fit, map : PCA(svd_solver="full")', at_least=5),
                quotient("peak_MiB", "map", "scikit-learn", label="peak memory, map : scikit-learn", at_most=0.5),
            ],
            compare=_compare_fits,
            notes=[
                "fit_s times the fit with the positions of all points; seconds also includes the process and the generation of "
                "the points."
            ],
        )


def _fit_apart(side: str, size: FitSize, folder: Path) -> Fitted:
    file = folder / f"{side}.npy"
    arguments = [side, str(size.n), str(size.d), "7", str(file)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.sides.pca_process", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return Fitted(places=np.load(file), **json.loads(run.stdout))


def _compare_fits(answers: Mapping[str, Any]) -> list[Agreement]:
    got, expected = answers["map"].places, answers["scikit-learn"].places
    # The sign of an axis is arbitrary.
    signs = np.sign((got * expected).sum(0))
    apart = float(np.abs(got * signs - expected).max() / expected.std())
    detail = f"{got.size:,} numbers, at most {apart:.1e} of their spread apart"
    return [Agreement(label="positions, up to the signs of the axes", holds=apart < 1e-2, detail=detail)]


@dataclass(frozen=True, kw_only=True)
class PlaceSize:
    """Points of a UMAP, and new points."""

    n: int
    n_new: int
    d: int


PLACE_FULL = PlaceSize(n=50_000, n_new=1_000, d=256)
PLACE_QUICK = PlaceSize(n=600, n_new=60, d=32)


@contextlib.contextmanager
def open_placing(size: PlaceSize, *, http: bool) -> Iterator[Contest]:
    """A fitted map; ``http`` has no effect."""
    old, new = _groups(size.n, size.d, seed=1), _groups(size.n_new, size.d, seed=2)
    both = np.concatenate([old, new])
    settings = FitSettings(method="umap")
    basis, places, _ = fit_basis(old, settings=settings)

    def refit() -> Floats:
        return fit_basis(both, settings=settings)[1][len(old) :]

    yield Contest(
        name="map-project",
        work=f"{size.n_new:,} new points on a UMAP of {size.n:,} points × {size.d} dimensions, one thread, as for the map.",
        sides=[Side(name="place", run=lambda: basis.place(new)), Side(name="refit", run=refit)],
        goals=[speedup("place", "refit", at_least=20)],
        compare=lambda answers: _compare_places(both, places, answers),
    )


def _groups(n: int, d: int, *, seed: int) -> Floats:
    """Points around ten centres, equal for all seeds."""
    centres = np.random.default_rng(0).normal(size=(10, d)) * 2
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(10, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def _compare_places(both: Floats, old_places: Floats, answers: Mapping[str, Any]) -> list[Agreement]:
    rows = np.arange(len(old_places), len(both))
    old = old_places
    placed = neighbour_quality(both, np.concatenate([old, answers["place"]]), rows=rows)
    # Positions of new points are compared with those of old points in the same map, since a refit moves all points.
    refitted = neighbour_quality(both[rows], answers["refit"], rows=np.arange(len(rows)))
    alone = neighbour_quality(both[rows], answers["place"], rows=np.arange(len(rows)))
    return [
        _as_true("new points among all of the map", placed, at_least=0.8),
        _as_true("new points among themselves, placed", alone, at_least=refitted.trustworthiness - 0.05),
    ]


def _as_true(label: str, truth: NeighbourQuality, *, at_least: float) -> Agreement:
    detail = f"trustworthiness {truth.trustworthiness:.3f}, at least {at_least:.3f} was expected"
    return Agreement(label=label, holds=truth.trustworthiness >= at_least, detail=detail)
