"""Localization of trajectories, compared with a random walk.

The null model visits points sampled uniformly and independently from a set: the token embeddings, or a dataset's states.
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
    """Shape of one trajectory. step_length: mean distance between consecutive points.

    radius_of_gyration: root mean squared distance to the mean point. persistence: mean cosine between consecutive steps;
    −0.5 for independent points, 0 for independent steps, 1 for a straight line.
    """

    step_length: float
    radius_of_gyration: float
    persistence: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure of trajectories compared with the null model.

    observed, null: means over trajectories. ratio: of the means, with its interval; None if it is not meaningful.
    effect: Cohen's d (observed − null).
    """

    measure: str
    observed: Interval
    null: Interval
    ratio: Interval | None
    effect: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        ratio = None if self.ratio is None else self.ratio.to_json()
        return {
            "measure": self.measure,
            "observed": self.observed.to_json(),
            "null": self.null.to_json(),
            "ratio": ratio,
            "effect": self.effect,
        }


def trajectory_shape(trajectory: npt.ArrayLike) -> TrajectoryShape:
    """Measure one trajectory `[n_points ≥ 3, d]`."""
    points = as_points(trajectory, name="trajectory", at_least=3)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    spread = np.square(points - points.mean(0)).sum(1).mean()
    return TrajectoryShape(
        step_length=float(lengths.mean()),
        radius_of_gyration=float(np.sqrt(spread)),
        persistence=_persistence(steps, lengths),
    )


def random_walks(points: npt.ArrayLike, *, lengths: Sequence[int], n: int, seed: int) -> list[Floats]:
    """``n`` random walks over ``points``; lengths cycle through ``lengths``."""
    given = as_points(points, name="points", at_least=2)
    rng = np.random.default_rng(seed)
    return [given[rng.integers(len(given), size=lengths[index % len(lengths)])] for index in range(n)]


def compare_with_null(
    trajectories: Sequence[npt.ArrayLike],
    points: npt.ArrayLike,
    *,
    n_null: int = 200,
    samples: int = 999,
    seed: int = 0,
) -> list[Comparison]:
    """Compare ``MEASURES`` of trajectories with random walks of the same lengths over ``points``.

    Trajectories with fewer than three points are left out.

    Raises:
        ValueError: Fewer than two trajectories have three or more points.
    """
    kept = [as_points(path, name="trajectory") for path in trajectories if len(np.asarray(path)) >= 3]
    if len(kept) < 2:
        raise ValueError(f"expected at least two trajectories of three or more points, got {len(kept)}")
    require_same_width(trajectory=kept[0], points=np.asarray(points))
    null = random_walks(points, lengths=[len(path) for path in kept], n=n_null, seed=seed)
    shapes, null_shapes = [trajectory_shape(path) for path in kept], [trajectory_shape(path) for path in null]
    return [_compare(measure, shapes, null_shapes, samples=samples, seed=seed) for measure in MEASURES]


def _compare(
    measure: str, shapes: Sequence[TrajectoryShape], null_shapes: Sequence[TrajectoryShape], *, samples: int, seed: int
) -> Comparison:
    observed, null = ([getattr(shape, measure) for shape in group] for group in (shapes, null_shapes))
    # A ratio is not meaningful for persistence, which may have any sign, nor for a null model with a single point.
    has_ratio = measure != "persistence" and max(null) > 0
    ratio = ratio_of_means(observed, null, samples=samples, seed=seed) if has_ratio else None
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
