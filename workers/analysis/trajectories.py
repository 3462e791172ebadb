"""Trajectories as walks: are they localized, or do they jump about like random draws from a cloud?

The null model is a random walk over a set of points (the vocabulary's embeddings, or a dataset's states): every step
goes to a point drawn evenly from the set, whatever came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.measures.arrays import Floats, as_points, require_same_width
from workers.analysis.intervals import Interval, bootstrap_interval, cohens_d, ratio_of_means

MEASURES = ("step_length", "radius_of_gyration", "persistence")


@dataclass(frozen=True, kw_only=True)
class TrajectoryShape:
    """One walk. step_length: mean distance between consecutive points.

    radius_of_gyration: root mean squared distance to the walk's own centre. persistence: mean cosine between
    consecutive steps; −0.5 for independent points, 0 for independent steps, 1 for a straight line.
    """

    step_length: float
    radius_of_gyration: float
    persistence: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure of walks against the null model.

    observed, null: mean over walks. ratio: of the means, with its interval; None where it would say nothing.
    effect: Cohen's d (observed − null).
    """

    measure: str
    observed: Interval
    null: Interval
    ratio: Interval | None
    effect: float

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        ratio = None if self.ratio is None else self.ratio.to_json()
        return {
            "measure": self.measure,
            "observed": self.observed.to_json(),
            "null": self.null.to_json(),
            "ratio": ratio,
            "effect": self.effect,
        }


def trajectory_shape(walk: npt.ArrayLike) -> TrajectoryShape:
    """Measure one walk `[n_points ≥ 3, d]`."""
    points = as_points(walk, name="walk", at_least=3)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    spread = np.square(points - points.mean(0)).sum(1).mean()
    return TrajectoryShape(
        step_length=float(lengths.mean()),
        radius_of_gyration=float(np.sqrt(spread)),
        persistence=_persistence(steps, lengths),
    )


def random_walks(points: npt.ArrayLike, *, lengths: Sequence[int], n: int, seed: int) -> list[Floats]:
    """``n`` walks of the null model over ``points``; their lengths are those given, in turn."""
    given = as_points(points, name="points", at_least=2)
    rng = np.random.default_rng(seed)
    return [given[rng.integers(len(given), size=lengths[index % len(lengths)])] for index in range(n)]


def compare_with_null(
    walks: Sequence[npt.ArrayLike], points: npt.ArrayLike, *, n_null: int = 200, samples: int = 999, seed: int = 0
) -> list[Comparison]:
    """Each of ``MEASURES`` for ``walks`` against walks of the same lengths over ``points``; those under 3 points are left out.

    Raises:
        ValueError: fewer than two walks are long enough.
    """
    kept = [as_points(walk, name="walk") for walk in walks if len(np.asarray(walk)) >= 3]
    if len(kept) < 2:
        raise ValueError(f"expected at least two walks of three or more points, got {len(kept)}")
    require_same_width(walk=kept[0], points=np.asarray(points))
    null = random_walks(points, lengths=[len(walk) for walk in kept], n=n_null, seed=seed)
    ours, theirs = [trajectory_shape(walk) for walk in kept], [trajectory_shape(walk) for walk in null]
    return [_compare(measure, ours, theirs, samples=samples, seed=seed) for measure in MEASURES]


def _compare(
    measure: str, ours: Sequence[TrajectoryShape], theirs: Sequence[TrajectoryShape], *, samples: int, seed: int
) -> Comparison:
    observed, null = ([getattr(shape, measure) for shape in shapes] for shapes in (ours, theirs))
    # Persistence may have any sign, so a ratio of it says nothing; nor does one to a cloud that is a single point.
    says = measure != "persistence" and max(null) > 0
    ratio = ratio_of_means(observed, null, samples=samples, seed=seed) if says else None
    return Comparison(
        measure=measure,
        observed=bootstrap_interval(observed, samples=samples, seed=seed),
        null=bootstrap_interval(null, samples=samples, seed=seed),
        ratio=ratio,
        effect=cohens_d(observed, null),
    )


def _persistence(steps: Floats, lengths: Floats) -> float:
    products = (steps[1:] * steps[:-1]).sum(1)
    scale = lengths[1:] * lengths[:-1]
    moving = scale > 0
    return float((products[moving] / scale[moving]).mean()) if moving.any() else 0.0
